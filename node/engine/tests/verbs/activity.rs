//! Workers' activities, and clients that answer for them by id.

use super::{Args, Script};
use steadfast_engine::Reply;
use steadfast_engine::id::TaskKind;
use steadfast_engine::mutation::{ActivityTarget, Mutation};
use steadfast_engine::proto::Proto;
use steadfast_proto::temporal::failure::v1::failure::FailureInfo;
use steadfast_proto::temporal::failure::v1::{
    ApplicationFailureInfo, CanceledFailureInfo, Failure,
};
use steadfast_proto::temporal::workflowservice::v1 as wire;

/// `poll_activity queue= worker= as=`
pub(super) fn poll(script: &mut Script, args: &Args) {
    let poller = script.poller(TaskKind::Activity, args);
    let name = args.get_or("as", "");
    super::workflow_task::claim(script, poller, &name);
}

/// The activity's token, or with `by_id=WORKFLOW` its ids.
fn target(script: &Script, args: &Args) -> ActivityTarget {
    let name = args.name_or("a");
    match args.get("by_id") {
        Some(workflow_id) => ActivityTarget::Id {
            namespace: args.get_or("namespace", "default"),
            workflow_id,
            run_id: args.get_or("run", ""),
            activity_id: name,
        },
        None => ActivityTarget::Token(script.token(&name)),
    }
}

/// `complete_activity [A] result= [by_id=]`
pub(super) fn complete(script: &mut Script, args: &Args) {
    let request = Proto(wire::RespondActivityTaskCompletedRequest {
        result: args.payloads("result"),
        identity: args.get_or("worker", "worker"),
        ..Default::default()
    });
    let target = target(script, args);
    script.apply(Mutation::RespondActivityTaskCompleted { target, request });
}

/// `fail_activity [A] message= type= [final] next_retry= details= [by_id=]`
pub(super) fn fail(script: &mut Script, args: &Args) {
    let request = Proto(wire::RespondActivityTaskFailedRequest {
        failure: (!args.has("without_failure")).then(|| failure(args)),
        identity: args.get_or("worker", "worker"),
        last_heartbeat_details: args.payloads("details"),
        ..Default::default()
    });
    let target = target(script, args);
    script.apply(Mutation::RespondActivityTaskFailed { target, request });
}

pub(super) fn failure(args: &Args) -> Failure {
    let info = if args.has("canceled") {
        FailureInfo::CanceledFailureInfo(CanceledFailureInfo::default())
    } else {
        FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo {
            r#type: args.get_or("type", "Boom"),
            non_retryable: args.has("final"),
            next_retry_delay: args.span("next_retry"),
            ..ApplicationFailureInfo::default()
        })
    };
    let message = match args.get_or("message", "oops") {
        text if text.starts_with("long:") => "x".repeat(text[5..].parse().unwrap()),
        text => text.trim_matches('"').to_owned(),
    };
    Failure {
        message,
        failure_info: Some(info),
        ..Failure::default()
    }
}

/// `cancel_activity [A] details= [by_id=]`: the worker says that it has stopped.
pub(super) fn cancel(script: &mut Script, args: &Args) {
    let request = Proto(wire::RespondActivityTaskCanceledRequest {
        details: args.payloads("details"),
        identity: args.get_or("worker", "worker"),
        ..Default::default()
    });
    let target = target(script, args);
    script.apply(Mutation::RespondActivityTaskCanceled { target, request });
}

/// `heartbeat [A] details= [by_id=]`
pub(super) fn heartbeat(script: &mut Script, args: &Args) {
    let request = Proto(wire::RecordActivityTaskHeartbeatRequest {
        details: args.payloads("details"),
        identity: args.get_or("worker", "worker"),
        ..Default::default()
    });
    let target = target(script, args);
    let reply = script.apply(Mutation::RecordActivityTaskHeartbeat { target, request });
    if let Some(Reply::Heartbeat { cancel_requested }) = reply {
        script.say(format!("cancel_requested={cancel_requested}"));
    }
}
