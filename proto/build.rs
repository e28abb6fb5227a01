//! Compiles Temporal's services from the descriptor set that `temporalio-protos` exports, and our
//! own protos from `internal/`. Nothing generated is committed, no `.proto` of Temporal's is here.

use prost::Message;
use prost_types::field_descriptor_proto::Type;
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

/// What the descriptor set holds but a server does not serve.
const DROPPED: &[&str] = &[
    "coresdk",
    "temporal.api.cloud",
    "temporal.api.testservice",
    "grpc.health",
    "temporal.api.nexusservices",
];

/// Fields that only pass through: their bytes are served as they are stored (same wire form).
const AS_BYTES: &[(&str, &str)] = &[
    ("PollWorkflowTaskQueueResponse", "history"),
    ("GetWorkflowExecutionHistoryResponse", "history"),
    ("GetWorkflowExecutionHistoryReverseResponse", "history"),
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=internal");
    println!("cargo:rerun-if-changed=build.rs");
    let services = env::var_os("CARGO_FEATURE_SERVICES").is_some();
    temporal(services)?;
    internal(services)
}

fn temporal(services: bool) -> Result<(), Box<dyn Error>> {
    let path = env::var("DEP_TEMPORALIO_PROTOS_DESCRIPTOR_PATH")?;
    let mut set = FileDescriptorSet::decode(&*fs::read(path)?)?;
    set.file.retain(|file| {
        !DROPPED
            .iter()
            .any(|dropped| file.package().starts_with(dropped))
    });
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("temporal_descriptors.bin"), set.encode_to_vec())?;
    set.file.iter_mut().for_each(pass_through);
    configure(services)
        .include_file("temporal.rs")
        .compile_fds_with_config(set, config())?;
    Ok(())
}

fn pass_through(file: &mut FileDescriptorProto) {
    for message in &mut file.message_type {
        for (name, field_name) in AS_BYTES {
            if message.name() != *name {
                continue;
            }
            for field in &mut message.field {
                if field.name() == *field_name {
                    field.set_type(Type::Bytes);
                    field.type_name = None;
                    field.proto3_optional = None;
                }
            }
        }
    }
}

fn internal(services: bool) -> Result<(), Box<dyn Error>> {
    let mut files: Vec<PathBuf> = fs::read_dir("internal")?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "proto")
    });
    files.sort();
    let set = protox::compile(&files, ["internal"])?;
    configure(services)
        .include_file("internal.rs")
        .compile_fds_with_config(set, config())?;
    Ok(())
}

fn configure(services: bool) -> tonic_prost_build::Builder {
    tonic_prost_build::configure()
        .build_client(services)
        .build_server(services)
        .generate_default_stubs(true)
        .emit_rerun_if_changed(false)
}

/// Bytes are shared, not copied; maps are ordered, because replicas must encode alike.
fn config() -> tonic_prost_build::Config {
    let mut config = tonic_prost_build::Config::new();
    config.bytes(["."]);
    config.btree_map(["."]);
    config.enable_type_names();
    config
}
