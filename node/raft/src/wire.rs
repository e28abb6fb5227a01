//! openraft's messages as protobuf and back. A peer's bytes are checked, never trusted.

use crate::encoding;
use crate::transport::LinkError;
use crate::types::{Entry, LeaderId, LogId, Types, Vote};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderError, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use steadfast_proto::internal::raft::v1 as proto;

pub(crate) use proto::frame::Body;

fn missing(what: &str) -> LinkError {
    LinkError::Protocol(format!("a frame without {what}"))
}

pub(crate) fn frame(body: Body) -> proto::Frame {
    proto::Frame { body: Some(body) }
}

pub(crate) fn log_id_to(log_id: &LogId) -> proto::LogId {
    let leader = log_id.committed_leader_id();
    proto::LogId {
        term: leader.term,
        leader: leader.node_id,
        index: log_id.index(),
    }
}

pub(crate) fn log_id_from(log_id: &proto::LogId) -> LogId {
    LogId::new(
        LeaderId {
            term: log_id.term,
            node_id: log_id.leader,
        },
        log_id.index,
    )
}

pub(crate) fn vote_to(vote: &Vote) -> proto::Vote {
    proto::Vote {
        term: vote.leader_id.term,
        node_id: vote.leader_id.node_id,
        committed: vote.committed,
    }
}

pub(crate) fn vote_from(vote: Option<&proto::Vote>) -> Result<Vote, LinkError> {
    let vote = vote.ok_or_else(|| missing("vote"))?;
    let leader_id = LeaderId {
        term: vote.term,
        node_id: vote.node_id,
    };
    Ok(Vote {
        leader_id,
        committed: vote.committed,
    })
}

pub(crate) fn append_to(
    session: u64,
    sequence: u64,
    request: AppendEntriesRequest<Types>,
) -> proto::Append {
    let entry = |entry: &Entry| {
        let position = encoding::position(&entry.log_id);
        proto::Entry {
            term: position.term,
            leader: position.leader,
            index: position.index,
            payload: encoding::payload_bytes(&entry.payload),
        }
    };
    proto::Append {
        session,
        sequence,
        vote: Some(vote_to(&request.vote)),
        prev: request.prev_log_id.as_ref().map(log_id_to),
        commit: request.leader_commit.as_ref().map(log_id_to),
        entries: request.entries.iter().map(entry).collect(),
    }
}

/// Entries must follow each other and `prev`: a gap would be a hole in the log.
pub(crate) fn append_from(append: proto::Append) -> Result<AppendEntriesRequest<Types>, LinkError> {
    let first = append
        .prev
        .as_ref()
        .map_or(0, |prev| prev.index.saturating_add(1));
    let mut entries = Vec::with_capacity(append.entries.len());
    for (expected, entry) in (first..).zip(append.entries) {
        if entry.index != expected {
            return Err(LinkError::Protocol(format!(
                "entry {} where {expected} follows",
                entry.index
            )));
        }
        let leader = LeaderId {
            term: entry.term,
            node_id: entry.leader,
        };
        let payload = encoding::payload(entry.payload)
            .map_err(|error| LinkError::Protocol(error.to_string()))?;
        entries.push(Entry {
            log_id: LogId::new(leader, entry.index),
            payload,
        });
    }
    Ok(AppendEntriesRequest {
        vote: vote_from(append.vote.as_ref())?,
        prev_log_id: append.prev.as_ref().map(log_id_from),
        leader_commit: append.commit.as_ref().map(log_id_from),
        entries,
    })
}

pub(crate) fn appended_to(
    session: u64,
    sequence: u64,
    result: StreamAppendResult<Types>,
) -> proto::Appended {
    use proto::appended::Result as Wire;
    let result = match result {
        Ok(matched) => Wire::Matched(proto::Matched {
            log_id: matched.as_ref().map(log_id_to),
        }),
        Err(StreamAppendError::Conflict(log_id)) => Wire::Conflict(log_id_to(&log_id)),
        Err(StreamAppendError::HigherVote(vote)) => Wire::Higher(vote_to(&vote)),
    };
    proto::Appended {
        session,
        sequence,
        result: Some(result),
    }
}

pub(crate) fn appended_from(
    appended: proto::Appended,
) -> Result<StreamAppendResult<Types>, LinkError> {
    use proto::appended::Result as Wire;
    match appended.result.ok_or_else(|| missing("result"))? {
        Wire::Matched(matched) => Ok(Ok(matched.log_id.as_ref().map(log_id_from))),
        Wire::Conflict(log_id) => Ok(Err(StreamAppendError::Conflict(log_id_from(&log_id)))),
        Wire::Higher(vote) => Ok(Err(StreamAppendError::HigherVote(vote_from(Some(&vote))?))),
        Wire::Failed(message) => Err(LinkError::Failed(message)),
    }
}

/// A heartbeat's answer says only success or conflict; the request says of what.
pub(crate) fn heartbeat_result(
    prev: Option<LogId>,
    response: AppendEntriesResponse<Types>,
) -> StreamAppendResult<Types> {
    match (response, prev) {
        (AppendEntriesResponse::Conflict, Some(prev)) => Err(StreamAppendError::Conflict(prev)),
        // Nothing can conflict with nothing.
        (AppendEntriesResponse::Conflict, None) => Ok(None),
        (AppendEntriesResponse::Success, prev) => Ok(prev),
        (AppendEntriesResponse::PartialSuccess(matched), _) => Ok(matched),
        (AppendEntriesResponse::HigherVote(vote), _) => Err(StreamAppendError::HigherVote(vote)),
    }
}

pub(crate) fn vote_request_to(request: &VoteRequest<Types>) -> proto::VoteRequest {
    proto::VoteRequest {
        vote: Some(vote_to(&request.vote)),
        last_log_id: request.last_log_id.as_ref().map(log_id_to),
        leadership_transfer: request.leadership_transfer,
    }
}

pub(crate) fn vote_request_from(
    request: &proto::VoteRequest,
) -> Result<VoteRequest<Types>, LinkError> {
    let mut vote = VoteRequest::new(
        vote_from(request.vote.as_ref())?,
        request.last_log_id.as_ref().map(log_id_from),
    );
    vote.leadership_transfer = request.leadership_transfer;
    Ok(vote)
}

pub(crate) fn vote_response_to(response: &VoteResponse<Types>) -> proto::VoteResponse {
    proto::VoteResponse {
        vote: Some(vote_to(&response.vote)),
        granted: response.vote_granted,
        last_log_id: response.last_log_id.as_ref().map(log_id_to),
    }
}

pub(crate) fn vote_response_from(
    response: &proto::VoteResponse,
) -> Result<VoteResponse<Types>, LinkError> {
    Ok(VoteResponse::new(
        vote_from(response.vote.as_ref())?,
        response.last_log_id.as_ref().map(log_id_from),
        response.granted,
    ))
}

pub(crate) fn transfer_to(request: &TransferLeaderRequest<Types>) -> proto::TransferLeader {
    proto::TransferLeader {
        from_leader: Some(vote_to(request.from_leader())),
        to: *request.to_node_id(),
        last_log_id: request.last_log_id().map(log_id_to),
    }
}

pub(crate) fn transfer_from(
    request: &proto::TransferLeader,
) -> Result<TransferLeaderRequest<Types>, LinkError> {
    Ok(TransferLeaderRequest::new(
        vote_from(request.from_leader.as_ref())?,
        request.to,
        request.last_log_id.as_ref().map(log_id_from),
    ))
}

pub(crate) fn transfer_result_to(
    result: &Result<(), TransferLeaderError<Types>>,
) -> proto::TransferLeaderResult {
    use proto::transfer_leader_result::{LogNotFlushed, Result as Wire, VoteChanged};
    let result = match result {
        Ok(()) => Wire::Accepted(true),
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            Wire::VoteChanged(VoteChanged {
                expected: Some(vote_to(expected)),
                actual: Some(vote_to(actual)),
            })
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
            Wire::LogNotFlushed(LogNotFlushed {
                expected: expected.as_ref().map(log_id_to),
                actual: actual.as_ref().map(log_id_to),
            })
        }
    };
    proto::TransferLeaderResult {
        result: Some(result),
    }
}

pub(crate) fn transfer_result_from(
    result: proto::TransferLeaderResult,
) -> Result<Result<(), TransferLeaderError<Types>>, LinkError> {
    use proto::transfer_leader_result::Result as Wire;
    match result.result.ok_or_else(|| missing("result"))? {
        Wire::Accepted(_) => Ok(Ok(())),
        Wire::VoteChanged(changed) => Ok(Err(TransferLeaderError::VoteChanged {
            expected: vote_from(changed.expected.as_ref())?,
            actual: vote_from(changed.actual.as_ref())?,
        })),
        Wire::LogNotFlushed(behind) => Ok(Err(TransferLeaderError::LogNotFlushed {
            expected: behind.expected.as_ref().map(log_id_from),
            actual: behind.actual.as_ref().map(log_id_from),
        })),
    }
}
