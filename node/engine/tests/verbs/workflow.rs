//! Callers of workflows: start, signal, cancel, terminate, delete.

use super::{Args, Script, payload};
use steadfast_engine::Reply;
use steadfast_engine::mutation::{ExecutionTarget, Mutation};
use steadfast_engine::proto::Proto;
use steadfast_proto::temporal::common::v1::{
    RetryPolicy, SearchAttributes, WorkflowExecution, WorkflowType,
};
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;
use steadfast_proto::temporal::workflowservice::v1 as wire;

pub(super) fn execution(args: &Args) -> Option<WorkflowExecution> {
    let (workflow_id, run_id) = (args.name_or("wf"), args.get_or("run", ""));
    Some(WorkflowExecution {
        workflow_id,
        run_id,
    })
}

/// `start [ID] queue= type= request= run_timeout= execution_timeout= task_timeout= reuse= conflict=
/// cron= delay= attempts= first_retry= input= attribute.NAME=`
pub(super) fn start(script: &mut Script, args: &Args) {
    let request = start_request(script, args);
    let reply = script.apply(Mutation::StartWorkflowExecution(Proto(request)));
    say_started(script, reply);
}

pub(super) fn start_request(script: &Script, args: &Args) -> wire::StartWorkflowExecutionRequest {
    wire::StartWorkflowExecutionRequest {
        namespace: args.get_or("namespace", "default"),
        workflow_id: args.name_or("wf"),
        workflow_type: workflow_type(args),
        task_queue: task_queue(args),
        input: args.payloads("input"),
        identity: args.get_or("identity", "client"),
        request_id: request_id(script, args),
        workflow_run_timeout: args.span("run_timeout"),
        workflow_execution_timeout: args.span("execution_timeout"),
        workflow_task_timeout: args.span("task_timeout"),
        workflow_id_reuse_policy: args.number("reuse"),
        workflow_id_conflict_policy: args.number("conflict"),
        cron_schedule: args.get_or("cron", "").trim_matches('"').to_owned(),
        workflow_start_delay: args.span("delay"),
        retry_policy: retry_policy(args),
        request_eager_execution: args.has("eager"),
        search_attributes: search_attributes(args),
        ..Default::default()
    }
}

/// As `start`, with `signal=` and `signal_input=`.
pub(super) fn signal_with_start(script: &mut Script, args: &Args) {
    let request = wire::SignalWithStartWorkflowExecutionRequest {
        namespace: args.get_or("namespace", "default"),
        workflow_id: args.name_or("wf"),
        workflow_type: workflow_type(args),
        task_queue: task_queue(args),
        identity: args.get_or("identity", "client"),
        request_id: request_id(script, args),
        signal_name: args.get_or("signal", "go"),
        signal_input: args.payloads("signal_input"),
        workflow_start_delay: args.span("delay"),
        workflow_id_reuse_policy: args.number("reuse"),
        workflow_id_conflict_policy: args.number("conflict"),
        ..Default::default()
    };
    let reply = script.apply(Mutation::SignalWithStartWorkflowExecution(Proto(request)));
    say_started(script, reply);
}

fn say_started(script: &mut Script, reply: Option<Reply>) {
    let Some(Reply::Started {
        started,
        status,
        eager_task,
        ..
    }) = reply
    else {
        return;
    };
    script.say(format!("started={started} status={status}"));
    if let Some(task) = eager_task {
        let text = script.keep(&task, "");
        script.say(format!("eager {text}"));
    }
}

fn workflow_type(args: &Args) -> Option<WorkflowType> {
    Some(WorkflowType {
        name: args.get_or("type", "Workflow"),
    })
}

fn task_queue(args: &Args) -> Option<TaskQueue> {
    Some(TaskQueue {
        name: args.get_or("queue", "q"),
        ..TaskQueue::default()
    })
}

fn request_id(script: &Script, args: &Args) -> String {
    args.get("request")
        .unwrap_or_else(|| format!("request-{}", script.world.now.0))
}

fn retry_policy(args: &Args) -> Option<RetryPolicy> {
    let attempts = args.get("attempts")?;
    Some(RetryPolicy {
        maximum_attempts: attempts.parse().unwrap(),
        initial_interval: args.span("first_retry"),
        ..RetryPolicy::default()
    })
}

fn search_attributes(args: &Args) -> Option<SearchAttributes> {
    let named = args.others().into_iter().map(|(key, json)| {
        let name = key
            .strip_prefix("attribute.")
            .unwrap_or_else(|| panic!("unknown {key}"));
        (name.to_owned(), payload(&json))
    });
    let indexed_fields: std::collections::BTreeMap<_, _> = named.collect();
    (!indexed_fields.is_empty()).then_some(SearchAttributes { indexed_fields })
}

/// `signal [ID] name= input= request=`
pub(super) fn signal(script: &mut Script, args: &Args) {
    let request = wire::SignalWorkflowExecutionRequest {
        namespace: args.get_or("namespace", "default"),
        workflow_execution: execution(args),
        signal_name: args.get_or("name", "go"),
        input: args.payloads("input"),
        identity: args.get_or("identity", "client"),
        request_id: args.get_or("request", ""),
        ..Default::default()
    };
    script.apply(Mutation::SignalWorkflowExecution(Proto(request)));
}

/// `cancel [ID] reason= request=`
pub(super) fn cancel(script: &mut Script, args: &Args) {
    let request = wire::RequestCancelWorkflowExecutionRequest {
        namespace: args.get_or("namespace", "default"),
        workflow_execution: execution(args),
        identity: args.get_or("identity", "client"),
        request_id: args.get_or("request", ""),
        reason: args.get_or("reason", ""),
        ..Default::default()
    };
    script.apply(Mutation::RequestCancelWorkflowExecution(Proto(request)));
}

/// `terminate [ID] reason=`
pub(super) fn terminate(script: &mut Script, args: &Args) {
    let request = wire::TerminateWorkflowExecutionRequest {
        namespace: args.get_or("namespace", "default"),
        workflow_execution: execution(args),
        identity: args.get_or("identity", "client"),
        reason: args.get_or("reason", ""),
        ..Default::default()
    };
    script.apply(Mutation::TerminateWorkflowExecution(Proto(request)));
}

/// `reset [ID] at= nth= reason= request= exclude=1,2 reapply=`: to the workflow task that finishes with
/// event `at`; `nth` counts the runs from the oldest.
pub(super) fn reset(script: &mut Script, args: &Args) {
    let workflow_id = args.name_or("wf");
    let nth: usize = args.number("nth");
    let runs = script.world.runs().into_iter();
    let mut runs = runs.filter(|run| run.run.workflow_id == workflow_id);
    let run_id = nth
        .checked_sub(1)
        .and_then(|before| runs.nth(before))
        .map_or_else(String::new, |run| run.run_id);
    let exclude = args.get_or("exclude", "");
    let exclude = exclude.split(',').filter_map(|number| number.parse().ok());
    #[expect(deprecated, reason = "clients still send the reapply type")]
    let request = wire::ResetWorkflowExecutionRequest {
        namespace: args.get_or("namespace", "default"),
        workflow_execution: Some(WorkflowExecution {
            workflow_id,
            run_id,
        }),
        reason: args.get_or("reason", "reset"),
        workflow_task_finish_event_id: args.number("at"),
        request_id: request_id(script, args),
        reset_reapply_exclude_types: exclude.collect(),
        reset_reapply_type: args.number("reapply"),
        ..Default::default()
    };
    let reply = script.apply(Mutation::ResetWorkflowExecution(Proto(request)));
    if let Some(Reply::Reset { run_id }) = reply {
        let runs = script.world.runs();
        let nth = runs.iter().position(|run| run.run_id == run_id);
        script.say(format!("run {}", nth.map_or(0, |before| before + 1)));
    }
}

/// `delete [ID]`: all slices.
pub(super) fn delete(script: &mut Script, args: &Args) {
    let target = ExecutionTarget {
        namespace: args.get_or("namespace", "default"),
        workflow_id: args.name_or("wf"),
        run_id: args.get_or("run", ""),
    };
    let runs = script.world.runs();
    let run = runs
        .iter()
        .rev()
        .find(|run| run.run.workflow_id == target.workflow_id);
    let run = run.map(|run| run.run.clone());
    let mut reply = script.apply(Mutation::DeleteWorkflowExecution(target));
    for slice in 1..=100 {
        match (&reply, &run) {
            (Some(Reply::Deleting { more: true } | Reply::Done), Some(run)) => {
                reply = script.apply(Mutation::DeleteSlice(run.clone()));
            }
            _ => break,
        }
        if reply == Some(Reply::Deleting { more: false }) {
            script.say(format!("deleted in {slice} slices"));
            break;
        }
    }
}
