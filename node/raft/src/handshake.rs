//! The first frames of a lane: who is there, and may these two talk.

use crate::exchange::StatusExchange;
use crate::peer::{NodeId, uuid_bytes, uuid_from};
use crate::transport::{CONNECT_TIMEOUT, Lane, LinkError, RefusedReason, Transport, Wire};
use crate::wire::{Body, frame};
use futures::StreamExt;
use std::sync::Arc;
use steadfast_proto::internal::raft::v1 as proto;
use tokio::time::timeout;
use uuid::Uuid;

/// Version of the frames. A peer of another version is refused.
const VERSION: u32 = 2;
/// Stands for the id of whoever listens at an address.
pub(crate) const WHOEVER: NodeId = 0;

/// Who this node is, on every lane.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// What people call the cluster.
    pub(crate) cluster_name: String,
    /// Knows the cluster's id once this node has a state.
    pub(crate) status: Arc<dyn StatusExchange>,
    pub(crate) group: u64,
    pub(crate) node_id: NodeId,
    pub(crate) node_uuid: Uuid,
}

/// Whom a lane is meant for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// [`WHOEVER`] while only the address is known.
    pub(crate) node_id: NodeId,
    pub(crate) address: String,
    /// What membership says; nil while nobody knows.
    pub(crate) node_uuid: Uuid,
}

fn refused(reason: RefusedReason, message: String) -> LinkError {
    LinkError::Refused { reason, message }
}

/// Opens a lane and proves that the right node is at its end.
pub(crate) async fn open(
    transport: &dyn Transport,
    me: &Identity,
    target: &Target,
    lane: Lane,
) -> Result<Wire, LinkError> {
    timeout(CONNECT_TIMEOUT, greet(transport, me, target, lane))
        .await
        .unwrap_or_else(|_| {
            Err(LinkError::Unreachable(format!(
                "no connection within {CONNECT_TIMEOUT:?}"
            )))
        })
}

async fn greet(
    transport: &dyn Transport,
    me: &Identity,
    target: &Target,
    lane: Lane,
) -> Result<Wire, LinkError> {
    let mut wire = transport.connect(&target.address, lane).await?;
    let hello = proto::Hello {
        version: VERSION,
        lane: lane.number(),
        cluster_name: me.cluster_name.clone(),
        cluster_id: me.status.cluster_id(),
        group: me.group,
        from: me.node_id,
        from_uuid: uuid_bytes(me.node_uuid),
        to: target.node_id,
    };
    wire.sender
        .send(frame(Body::Hello(hello)))
        .await
        .map_err(|_| LinkError::Broken)?;
    let answer = wire.receiver.next().await.and_then(|frame| frame.body);
    match answer {
        Some(Body::Welcome(welcome)) => check_welcome(&welcome, me, target).map(|()| wire),
        Some(Body::Refused(no)) => Err(refused(no.reason(), no.message)),
        Some(_) => Err(LinkError::Protocol("no welcome".to_owned())),
        None => Err(LinkError::Broken),
    }
}

fn check_welcome(
    welcome: &proto::Welcome,
    me: &Identity,
    target: &Target,
) -> Result<(), LinkError> {
    let there = uuid_from(&welcome.node_uuid);
    if target.node_id != WHOEVER && welcome.node_id != target.node_id {
        let message = format!(
            "node {} is at {}, not node {}",
            welcome.node_id, target.address, target.node_id
        );
        return Err(refused(RefusedReason::Node, message));
    }
    if there == me.node_uuid {
        let message = format!("{} is this node itself", target.address);
        return Err(refused(RefusedReason::Self_, message));
    }
    if !target.node_uuid.is_nil() && there != target.node_uuid {
        let message = format!(
            "node {} at {} is not the member of that id: it has another data directory",
            target.node_id, target.address
        );
        return Err(refused(RefusedReason::Uuid, message));
    }
    Ok(())
}

/// A caller that passed.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) node_id: NodeId,
    pub(crate) lane: Lane,
}

/// Checks a caller. `known` tells the uuid under which membership knows an id, if it does.
pub(crate) async fn receive(
    wire: &mut Wire,
    me: &Identity,
    known: impl Fn(NodeId) -> Option<Uuid>,
) -> Result<Caller, LinkError> {
    let first = timeout(CONNECT_TIMEOUT, wire.receiver.next()).await;
    let Ok(Some(proto::Frame {
        body: Some(Body::Hello(hello)),
    })) = first
    else {
        return Err(LinkError::Protocol("no hello".to_owned()));
    };
    let verdict = check_hello(&hello, me, known);
    let answer = match &verdict {
        Ok(_) => Body::Welcome(proto::Welcome {
            node_id: me.node_id,
            node_uuid: uuid_bytes(me.node_uuid),
        }),
        Err((reason, message)) => Body::Refused(proto::Refused {
            reason: (*reason).into(),
            message: message.clone(),
        }),
    };
    wire.sender
        .send(frame(answer))
        .await
        .map_err(|_| LinkError::Broken)?;
    verdict.map_err(|(reason, message)| refused(reason, message))
}

fn check_hello(
    hello: &proto::Hello,
    me: &Identity,
    known: impl Fn(NodeId) -> Option<Uuid>,
) -> Result<Caller, (RefusedReason, String)> {
    let uuid = uuid_from(&hello.from_uuid);
    if hello.version != VERSION {
        let message = format!("peer protocol {} where {VERSION} is spoken", hello.version);
        return Err((RefusedReason::Version, message));
    }
    if hello.cluster_name != me.cluster_name {
        let message = format!(
            "this is cluster {:?}, not {:?}",
            me.cluster_name, hello.cluster_name
        );
        return Err((RefusedReason::Cluster, message));
    }
    // A node without a state belongs to no cluster yet.
    let cluster_id = me.status.cluster_id();
    if !hello.cluster_id.is_empty() && !cluster_id.is_empty() && hello.cluster_id != cluster_id {
        let message = format!(
            "this is the cluster with the id {cluster_id}, not {}, though both are called {:?}",
            hello.cluster_id, me.cluster_name
        );
        return Err((RefusedReason::Cluster, message));
    }
    if hello.group != me.group {
        let message = format!("this is group {}, not {}", me.group, hello.group);
        return Err((RefusedReason::Group, message));
    }
    if hello.from == me.node_id || uuid == me.node_uuid {
        let message = format!("node {} must not connect to itself", me.node_id);
        return Err((RefusedReason::Self_, message));
    }
    let by_address = hello.to == WHOEVER && hello.lane == Lane::Control.number();
    if hello.to != me.node_id && !by_address {
        let message = format!("this is node {}, not node {}", me.node_id, hello.to);
        return Err((RefusedReason::Node, message));
    }
    // A node id whose disk was lost must not come back: it may have promised and acknowledged.
    if known(hello.from).is_some_and(|known| !known.is_nil() && known != uuid) {
        let message = format!("node {} is known with another data directory", hello.from);
        return Err((RefusedReason::Uuid, message));
    }
    match Lane::from_number(hello.lane) {
        Some(lane) => Ok(Caller {
            node_id: hello.from,
            lane,
        }),
        None => Err((
            RefusedReason::Protocol,
            format!("unknown lane {}", hello.lane),
        )),
    }
}
