//! Children, signals and requests to cancel to others: the commands, and the delivery of messages.

use super::{Args, Script};
use steadfast_engine::mutation::Mutation;
use steadfast_engine::resume;
use steadfast_engine::tables::{MessageBody, MessageRef, Record, keys};
use steadfast_proto::temporal::command::v1::command::Attributes;
use steadfast_proto::temporal::command::v1::{
    RequestCancelExternalWorkflowExecutionCommandAttributes,
    SignalExternalWorkflowExecutionCommandAttributes, StartChildWorkflowExecutionCommandAttributes,
};
use steadfast_proto::temporal::common::v1::{RetryPolicy, WorkflowExecution, WorkflowType};
use steadfast_proto::temporal::enums::v1::CommandType;
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;

/// `start_child ID type= queue= policy= reuse= input= run_timeout= attempts= cron= namespace=`
#[expect(deprecated, reason = "the namespace is still read")]
pub(super) fn start_child(args: &Args) -> (CommandType, Attributes) {
    let queue = args.get_or("queue", "children");
    let attempts: i32 = args.number("attempts");
    let attributes = StartChildWorkflowExecutionCommandAttributes {
        namespace: args.get_or("namespace", ""),
        workflow_id: args.name_or(""),
        workflow_type: args
            .get("type")
            .or_else(|| Some("Child".to_owned()))
            .filter(|name| name != "none")
            .map(|name| WorkflowType { name }),
        task_queue: (queue != "none").then(|| TaskQueue {
            name: queue,
            ..TaskQueue::default()
        }),
        input: args.payloads("input"),
        workflow_execution_timeout: args.span("execution_timeout"),
        workflow_run_timeout: args.span("run_timeout"),
        parent_close_policy: args.number("policy"),
        workflow_id_reuse_policy: args.number("reuse"),
        retry_policy: (attempts > 0).then(|| RetryPolicy {
            maximum_attempts: attempts,
            ..RetryPolicy::default()
        }),
        cron_schedule: args.get_or("cron", "").trim_matches('"').to_owned(),
        ..Default::default()
    };
    (
        CommandType::StartChildWorkflowExecution,
        Attributes::StartChildWorkflowExecutionCommandAttributes(attributes),
    )
}

/// `signal_external ID run= name= input= namespace= [child]`
#[expect(deprecated, reason = "the namespace is still read")]
pub(super) fn signal_external(args: &Args) -> (CommandType, Attributes) {
    let (workflow_id, run_id) = (args.name_or(""), args.get_or("run", ""));
    let attributes = SignalExternalWorkflowExecutionCommandAttributes {
        namespace: args.get_or("namespace", ""),
        execution: (workflow_id != "none").then_some(WorkflowExecution {
            workflow_id,
            run_id,
        }),
        signal_name: args.get_or("name", "go"),
        input: args.payloads("input"),
        child_workflow_only: args.has("child"),
        ..Default::default()
    };
    (
        CommandType::SignalExternalWorkflowExecution,
        Attributes::SignalExternalWorkflowExecutionCommandAttributes(attributes),
    )
}

/// `cancel_external ID run= reason= namespace= [child]`
#[expect(deprecated, reason = "the namespace is still read")]
pub(super) fn cancel_external(args: &Args) -> (CommandType, Attributes) {
    let attributes = RequestCancelExternalWorkflowExecutionCommandAttributes {
        namespace: args.get_or("namespace", ""),
        workflow_id: args.name_or(""),
        run_id: args.get_or("run", ""),
        reason: args.get_or("reason", ""),
        child_workflow_only: args.has("child"),
        ..Default::default()
    };
    (
        CommandType::RequestCancelExternalWorkflowExecution,
        Attributes::RequestCancelExternalWorkflowExecutionCommandAttributes(attributes),
    )
}

/// `deliver [N]`: the next N messages of the outbox; without a number until none is left. A walk
/// goes on where the last ended, as the leader's does.
pub(super) fn deliver(script: &mut Script, args: &Args) {
    let limit: usize = args.name().map_or(1_000, |text| text.parse().unwrap());
    let mut after = None;
    for _ in 0..limit {
        let memory = &script.world.memory;
        let mut next = resume::outbox(memory, after, 1).unwrap();
        if next.is_empty() && after.is_some() {
            next = resume::outbox(memory, None, 1).unwrap();
        }
        let Some(message) = next.pop() else { break };
        let text = message_text(script, message);
        script.say(text);
        script.apply(Mutation::DeliverMessage(message));
        after = Some(message);
    }
    let again = after.filter(|message| {
        let key = keys::message_key(*message);
        !script.world.memory.0.contains_key(&key)
    });
    if let Some(message) = again {
        // A second delivery does nothing: the message is gone.
        let before = script.world.memory.0.len();
        let (reply, _) = script
            .world
            .apply(Mutation::DeliverMessage(message), Vec::new());
        assert!(reply.is_err() && script.world.memory.0.len() == before);
    }
}

/// The messages that are not delivered yet.
pub(super) fn outbox(script: &mut Script) {
    for message in resume::outbox(&script.world.memory, None, 100).unwrap() {
        let text = message_text(script, message);
        script.say(text);
    }
}

fn message_text(script: &Script, message: MessageRef) -> String {
    let record = &script.world.memory.0[&keys::message_key(message)];
    let Record::Message(message) = &**record else {
        panic!("{record:?}")
    };
    let text = match &message.body {
        MessageBody::StartChild(start) => format!("start {}", start.initiated.workflow_id),
        MessageBody::ChildStarted { .. } => "child started".to_owned(),
        MessageBody::StartChildFailed { .. } => "child not started".to_owned(),
        MessageBody::ChildClosed { .. } => "child closed".to_owned(),
        MessageBody::CloseChildren { .. } => "close children".to_owned(),
        MessageBody::ParentClosed { workflow_id, .. } => format!("parent of {workflow_id} closed"),
        MessageBody::SignalExternal(signal) => format!("signal {}", signal.target.workflow_id),
        MessageBody::RequestCancelExternal(request) => {
            format!("cancel {}", request.target.workflow_id)
        }
        MessageBody::ExternalResult { .. } => "result".to_owned(),
    };
    format!("message of {}: {text}", message.source.workflow_id)
}
