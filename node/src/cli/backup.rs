//! `steadfast backup`: the files of a running cluster's state, into a folder.

use crate::cli::cluster::{Admin, ask_any, leader_of};
use crate::cli::{Failure, Output, one_thread_runtime, say};
use crate::config;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use steadfast_proto::internal::admin::v1 as admin;
use steadfast_proto::internal::admin::v1::backup_part::Part;
use steadfast_storage::disk::RealDisk;
use steadfast_storage::state::{BackupWriter, Manifest};
use tokio::time::timeout;
use tonic::Streaming;

/// The leader waits up to a minute for its disk, and the asked node as long for the mark.
const BEGIN_LIMIT: Duration = Duration::from_secs(130);
/// A node that sends nothing for so long is given up.
const IDLE: Duration = Duration::from_secs(60);
/// What people want to know of a backup; nothing reads it.
const SUMMARY: &str = "BACKUP.json";
/// The manifest may have some megabytes; all other messages are small.
const MESSAGE_BYTES: usize = 8 << 20;

/// Options of `steadfast backup`.
#[derive(Debug, Clone, clap::Args)]
pub struct BackupArgs {
    /// gRPC addresses of nodes; the first that answers gives the files
    #[arg(long, env = "STEADFAST_ADDRESS", value_delimiter = ',',
          default_value = "127.0.0.1:7233", value_name = "HOST:PORT",
          value_parser = config::peer_address)]
    pub address: Vec<String>,
    /// A new or empty folder for the backup
    #[arg(long, env = "STEADFAST_OUT", value_name = "DIR")]
    pub out: PathBuf,
    /// At most so many MiB a second
    #[arg(long, env = "STEADFAST_MIB_PER_SECOND", default_value_t = 64, value_name = "N",
          value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub mib_per_second: u64,
    /// text or json
    #[arg(long, env = "STEADFAST_OUTPUT", default_value = "text")]
    pub output: Output,
}

/// What was backed up: [`SUMMARY`], and the answer with `--output json`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
struct Summary {
    cluster_id: String,
    cluster_name: String,
    /// The node that gave the files.
    node_id: u64,
    /// Everything acknowledged before this index of the log is in it.
    index: u64,
    term: u64,
    bytes: u64,
    files: usize,
    /// The program that the node ran.
    version: String,
}

/// Makes a backup.
pub fn run(args: BackupArgs) -> Result<(), Failure> {
    one_thread_runtime()?.block_on(make(args))
}

async fn make(args: BackupArgs) -> Result<(), Failure> {
    let (mut near, status) = ask_any(&args.address).await?;
    let mut leader = leader_of(&mut near, &status).await?;
    let index = take_mark(&mut leader).await?;
    let mut parts = begin(near, index, args.mib_per_second << 20).await?;
    let head = match next(&mut parts).await? {
        Some(Part::Head(head)) => head,
        Some(Part::Chunk(_)) | None => {
            return Err(Failure::failed("the node sent no list of files"));
        }
    };
    let manifest = Manifest::decode(&head.manifest).map_err(Failure::failed)?;
    let files = manifest.files().count();
    let mut writer =
        BackupWriter::begin(Arc::new(RealDisk), &args.out, manifest).map_err(Failure::failed)?;
    while let Some(part) = next(&mut parts).await? {
        match part {
            Part::Chunk(chunk) => writer
                .write(&chunk.name, chunk.offset, &chunk.bytes)
                .map_err(Failure::failed)?,
            Part::Head(_) => return Err(Failure::failed("the node sent two lists of files")),
        }
    }
    writer.finish().map_err(Failure::failed)?;
    let summary = Summary {
        cluster_id: head.cluster_id,
        cluster_name: head.cluster_name,
        node_id: head.node_id,
        index: head.index,
        term: head.term,
        bytes: head.bytes,
        files,
        version: head.version,
    };
    tell(&summary, &args.out, args.output)
}

async fn take_mark(leader: &mut Admin) -> Result<u64, Failure> {
    match timeout(BEGIN_LIMIT, leader.take_mark(admin::TakeMarkRequest {})).await {
        Ok(Ok(answer)) => Ok(answer.into_inner().index),
        Ok(Err(status)) => Err(Failure::failed(format!(
            "no mark was taken: {}",
            status.message()
        ))),
        Err(_) => Err(Failure::failed("the leader does not answer")),
    }
}

async fn begin(
    near: Admin,
    index: u64,
    bytes_per_second: u64,
) -> Result<Streaming<admin::BackupPart>, Failure> {
    let request = admin::BackupRequest {
        index,
        bytes_per_second,
    };
    let mut near = near.max_decoding_message_size(MESSAGE_BYTES);
    match timeout(BEGIN_LIMIT, near.backup(request)).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(Failure::failed(status.message())),
        Err(_) => Err(Failure::failed("the node does not answer")),
    }
}

async fn next(parts: &mut Streaming<admin::BackupPart>) -> Result<Option<Part>, Failure> {
    match timeout(IDLE, parts.message()).await {
        Ok(Ok(Some(admin::BackupPart { part: Some(part) }))) => Ok(Some(part)),
        Ok(Ok(Some(admin::BackupPart { part: None }))) => {
            Err(Failure::failed("the node sent something unknown"))
        }
        Ok(Ok(None)) => Ok(None),
        Ok(Err(status)) => Err(Failure::failed(format!(
            "the backup broke off and is of no use: {}",
            status.message()
        ))),
        Err(_) => Err(Failure::failed(
            "the node sends nothing any more; the backup is of no use",
        )),
    }
}

fn tell(summary: &Summary, out: &Path, output: Output) -> Result<(), Failure> {
    let json = serde_json::to_string(summary).map_err(Failure::failed)?;
    let path = out.join(SUMMARY);
    std::fs::write(&path, format!("{json}\n"))
        .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
    match output {
        Output::Json => say(&json),
        Output::Text => say(&format!(
            "cluster {} is backed up to {}: {} files, {} bytes, everything up to log entry {}",
            summary.cluster_id,
            out.display(),
            summary.files,
            summary.bytes,
            summary.index
        )),
    }
    Ok(())
}
