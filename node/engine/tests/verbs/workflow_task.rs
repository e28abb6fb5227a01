//! Workers' workflow tasks.

use super::commands::command;
use super::{Args, Script};
use steadfast_engine::Reply;
use steadfast_engine::id::TaskKind;
use steadfast_engine::mutation::Mutation;
use steadfast_engine::proto::Proto;
use steadfast_proto::temporal::failure::v1::Failure;
use steadfast_proto::temporal::taskqueue::v1::{StickyExecutionAttributes, TaskQueue};
use steadfast_proto::temporal::workflowservice::v1 as wire;
use steadfast_proto::temporal::workflowservice::v1::respond_workflow_task_completed_request::Capabilities;

/// `poll_workflow queue= worker= as=`
pub(super) fn poll(script: &mut Script, args: &Args) {
    let poller = script.poller(TaskKind::Workflow, args);
    let name = args.get_or("as", "");
    claim(script, poller, &name);
}

pub(super) fn claim(script: &mut Script, poller: steadfast_engine::id::Reservation, name: &str) {
    match script.apply(Mutation::ClaimTask(poller)) {
        Some(Reply::Claimed(Some(task))) => {
            script.keep(&task, name);
        }
        Some(_) => script.say("nothing"),
        None => {}
    }
}

/// `complete_workflow [TASK] worker= sticky= sticky_timeout= [return] [force] [forgets]` with commands below.
pub(super) fn complete(script: &mut Script, args: &Args, below: &[String]) {
    let name = task_name(script, args);
    let sticky = args.get("sticky").map(|name| StickyExecutionAttributes {
        worker_task_queue: Some(TaskQueue {
            name,
            ..TaskQueue::default()
        }),
        schedule_to_start_timeout: args.span("sticky_timeout"),
    });
    let request = wire::RespondWorkflowTaskCompletedRequest {
        namespace: "default".to_owned(),
        identity: args.get_or("worker", "worker"),
        commands: below.iter().filter_map(|line| command(line)).collect(),
        messages: below
            .iter()
            .filter_map(|line| super::update::answer(line))
            .collect(),
        capabilities: Some(Capabilities {
            discard_speculative_workflow_task_with_events: args.has("forgets"),
        }),
        sticky_attributes: sticky,
        return_new_workflow_task: args.has("return"),
        force_create_new_workflow_task: args.has("force"),
        ..Default::default()
    };
    let token = script.token(&name);
    let request = Proto(request);
    let reply = script.apply(Mutation::RespondWorkflowTaskCompleted { token, request });
    let Some(Reply::WorkflowTaskCompleted {
        new_task,
        eager_activities,
        reset_history_event_id,
    }) = reply
    else {
        return;
    };
    if reset_history_event_id != 0 {
        script.say(format!("back to event {reset_history_event_id}"));
    }
    for task in eager_activities {
        let text = script.keep(&task, "");
        script.say(format!("eager: {text}"));
    }
    if let Some(task) = new_task {
        let text = script.keep(&task, &name);
        script.say(format!("returned: {text}"));
    }
}

/// `fail_workflow [TASK] message= cause=`
pub(super) fn fail(script: &mut Script, args: &Args) {
    let name = task_name(script, args);
    let message = args.get_or("message", "failed");
    let request = wire::RespondWorkflowTaskFailedRequest {
        namespace: "default".to_owned(),
        cause: args.number("cause"),
        failure: Some(Failure {
            message,
            ..Failure::default()
        }),
        identity: args.get_or("worker", "worker"),
        ..Default::default()
    };
    let token = script.token(&name);
    let request = Proto(request);
    script.apply(Mutation::RespondWorkflowTaskFailed { token, request });
}

/// `return TASK`: its poller had left.
pub(super) fn put_back(script: &mut Script, args: &Args) {
    let name = task_name(script, args);
    script.apply(Mutation::ReturnTask(script.token(&name)));
}

/// `abandon_sticky queue=`
pub(super) fn abandon_sticky(script: &mut Script, args: &Args) {
    let queue = script.queue(
        TaskKind::Workflow,
        &args.get_or("queue", "sticky"),
        "default",
    );
    script.apply(Mutation::AbandonStickyQueue(queue));
}

fn task_name(script: &Script, args: &Args) -> String {
    let flags = ["return", "force", "forgets"];
    match args.name() {
        Some(name) if !flags.contains(&name.as_str()) => name,
        Some(_) | None => script.last_workflow(),
    }
}
