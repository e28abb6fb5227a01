//! Namespaces and configuration.

use super::{Args, Script};
use steadfast_engine::mutation::Mutation;
use steadfast_engine::proto::Proto;
use steadfast_engine::{Reply, read};
use steadfast_proto::temporal::enums::v1::{IndexedValueType, NamespaceState};
use steadfast_proto::temporal::namespace::v1::{NamespaceConfig, UpdateNamespaceInfo};
use steadfast_proto::temporal::replication::v1::NamespaceReplicationConfig;
use steadfast_proto::temporal::workflowservice::v1 as wire;

/// `register_namespace NAME retention= description= owner= cluster= data.KEY= [global]`
pub(super) fn register(script: &mut Script, args: &Args) {
    let request = Proto(wire::RegisterNamespaceRequest {
        namespace: args.name_or("shop"),
        description: args.get_or("description", "").trim_matches('"').to_owned(),
        owner_email: args.get_or("owner", ""),
        workflow_execution_retention_period: args.span("retention"),
        active_cluster_name: args.get_or("cluster", ""),
        is_global_namespace: args.has("global"),
        data: data(args),
        ..Default::default()
    });
    let id = format!("id-of-{}", request.namespace);
    script.apply(Mutation::RegisterNamespace { request, id });
}

fn data(args: &Args) -> std::collections::BTreeMap<String, String> {
    let pairs = args.others().into_iter();
    pairs
        .map(|(key, value)| (key.trim_start_matches("data.").to_owned(), value))
        .collect()
}

/// `update_namespace NAME retention= description= owner= cluster= state= data.KEY=`
pub(super) fn update(script: &mut Script, args: &Args) {
    let retention = args.span("retention");
    let cluster = args.get("cluster");
    let mut info = UpdateNamespaceInfo {
        description: args.get_or("description", "").trim_matches('"').to_owned(),
        owner_email: args.get_or("owner", ""),
        state: args.number("state"),
        ..Default::default()
    };
    info.data = data(args);
    let request = wire::UpdateNamespaceRequest {
        namespace: args.name_or("shop"),
        update_info: Some(info),
        config: retention.map(|retention| NamespaceConfig {
            workflow_execution_retention_ttl: Some(retention),
            ..Default::default()
        }),
        replication_config: cluster.map(|active_cluster_name| NamespaceReplicationConfig {
            active_cluster_name,
            ..Default::default()
        }),
        ..Default::default()
    };
    script.apply(Mutation::UpdateNamespace(Proto(request)));
}

/// `add_search_attributes NAME Attribute=Type …`
pub(super) fn add_search_attributes(script: &mut Script, args: &Args) {
    let pairs = args.others().into_iter().map(|(name, kind)| {
        let value_type = IndexedValueType::from_str_name(&format!("INDEXED_VALUE_TYPE_{kind}"));
        (name, i32::from(value_type.unwrap()))
    });
    let (namespace, attributes) = (args.name_or("default"), pairs.collect());
    script.apply(Mutation::AddSearchAttributes {
        namespace,
        attributes,
    });
}

/// `describe_namespace NAME`
pub(super) fn describe(script: &mut Script, args: &Args) {
    let found = read::namespace::by_name(&script.world.memory, &args.name_or("shop")).unwrap();
    let Some(namespace) = found else {
        return script.say("no such namespace");
    };
    let state = NamespaceState::try_from(namespace.state).unwrap();
    script.say(format!(
        "{} number {} {state:?} retention {} s, {:?} {:?} {:?} {:?}",
        namespace.name,
        namespace.number.0,
        namespace.retention.0 / 1_000_000_000,
        namespace.description,
        namespace.owner_email,
        namespace.data,
        namespace.search_attributes,
    ));
}

/// `config KEY JSON`, or `config KEY` to remove it.
pub(super) fn config(script: &mut Script, args: &Args) {
    let key = args.name_or("");
    let value = args.get("json");
    script.apply(Mutation::SetConfig { key, value });
}

/// `purge NAME`: executions past their retention.
pub(super) fn purge(script: &mut Script, args: &Args) {
    let found = read::namespace::by_name(&script.world.memory, &args.name_or("default")).unwrap();
    let reply = script.apply(Mutation::PurgeNamespace(found.unwrap().number));
    if let Some(Reply::Deleting { more }) = reply {
        script.say(format!("more={more}"));
    }
    for run in std::mem::take(&mut script.to_delete) {
        script.apply(Mutation::DeleteSlice(run));
    }
}
