use super::*;
use crate::id::NamespaceNumber;
use crate::mutation::Mutation;
use crate::read::memory::Memory;
use crate::read::{resolve, target};
use crate::reply::Refusal;
use crate::tables::BranchPart;
use steadfast_proto::temporal::common::v1 as common;
use steadfast_proto::temporal::workflowservice::v1 as wire;

fn encoded(ids: &[i64]) -> Bytes {
    let events = ids.iter().map(|id| history::HistoryEvent {
        event_id: *id,
        ..Default::default()
    });
    history::History {
        events: events.collect(),
    }
    .encode_to_vec()
    .into()
}

fn ids(page: &HistoryPage) -> Vec<i64> {
    let decoded = history::History::decode(page.events.clone()).unwrap();
    decoded.events.iter().map(|event| event.event_id).collect()
}

/// One run: 1 started, 2 task scheduled | 3 | 4 | 5 signals.
fn signaled() -> (Memory, NamespaceNumber) {
    let mut memory = Memory::default();
    let bootstrap = Mutation::Bootstrap {
        cluster_id: "c".to_owned(),
        namespaces: vec!["default".to_owned()],
        config: Vec::new(),
        search_attributes: Vec::new(),
    };
    memory.apply(1, bootstrap).unwrap();
    let start = wire::StartWorkflowExecutionRequest {
        namespace: "default".to_owned(),
        workflow_id: "w".to_owned(),
        workflow_type: Some(common::WorkflowType {
            name: "t".to_owned(),
        }),
        task_queue: Some(TaskQueue {
            name: "q".to_owned(),
            ..Default::default()
        }),
        request_id: "r".to_owned(),
        ..Default::default()
    };
    memory
        .apply(2, Mutation::StartWorkflowExecution(start.into()))
        .unwrap();
    for second in 3..6 {
        let signal = wire::SignalWorkflowExecutionRequest {
            namespace: "default".to_owned(),
            workflow_execution: Some(common::WorkflowExecution {
                workflow_id: "w".to_owned(),
                run_id: String::new(),
            }),
            signal_name: "s".to_owned(),
            ..Default::default()
        };
        memory
            .apply(second, Mutation::SignalWorkflowExecution(signal.into()))
            .unwrap();
    }
    let namespace = crate::read::namespace::by_name(&memory, "default")
        .unwrap()
        .unwrap()
        .number;
    (memory, namespace)
}

#[test]
fn a_batch_is_cut_and_reversed_by_event() {
    let batch = HistoryBatch {
        events: encoded(&[5, 6, 7, 8]),
        count: 4,
    };
    let part = cut(5, &batch, 6, 7).unwrap();
    assert_eq!(
        (part.first_event_id, part.count, part.events),
        (6, 2, encoded(&[6, 7]))
    );
    assert_eq!(cut(5, &batch, 9, 20).unwrap().count, 0);
    assert_eq!(reversed(&batch.events).unwrap(), encoded(&[8, 7, 6, 5]));
    assert!(slice_events(&batch.events, 3, 2).is_err());
    assert!(frame_end(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 0).is_err());
}

#[test]
fn pages_hold_whole_transactions_in_both_directions() {
    let (memory, namespace) = signaled();
    let run = resolve(&memory, namespace, "w", "").unwrap().unwrap();
    assert_eq!(run.next_event_id, 6);
    let page = forward(&memory, &run, 1, 5, 2).unwrap();
    assert_eq!(
        (ids(&page), page.next, page.count),
        (vec![1, 2, 3], Some(4), 3)
    );
    let page = forward(&memory, &run, 4, 5, 2).unwrap();
    assert_eq!((ids(&page), page.next), (vec![4, 5], None));
    // In the middle of a transaction.
    let page = forward(&memory, &run, 2, 3, 256).unwrap();
    assert_eq!((ids(&page), page.next), (vec![2, 3], None));
    let page = backward(&memory, &run, 5, 3).unwrap();
    assert_eq!((ids(&page), page.next), (vec![5, 4, 3], Some(2)));
    let page = backward(&memory, &run, 2, 3).unwrap();
    assert_eq!((ids(&page), page.next), (vec![2, 1], None));
    assert_eq!(
        forward(&memory, &run, 6, 5, 2).unwrap(),
        HistoryPage::default()
    );
    assert!(forward(&memory, &run, 6, 9, 2).is_err());
}

#[test]
fn a_shared_branch_ends_where_the_run_leaves_it() {
    let (mut memory, namespace) = signaled();
    let base = resolve(&memory, namespace, "w", "").unwrap().unwrap();
    let mut run = Run::clone(&base);
    run.run.number = base.run.number + 1;
    run.branches = vec![
        BranchPart {
            branch: base.run.number,
            until: 3,
        },
        BranchPart {
            branch: run.run.number,
            until: i64::MAX,
        },
    ];
    run.next_event_id = 6;
    let own = HistoryBatch {
        events: encoded(&[4, 5]),
        count: 2,
    };
    memory.0.insert(
        history_key(&run.run, 4),
        Arc::new(Record::HistoryBatch(own)),
    );
    let page = forward(&memory, &run, 1, 5, 256).unwrap();
    assert_eq!((ids(&page), page.next), (vec![1, 2, 3, 4, 5], None));
    assert_eq!(ids(&backward(&memory, &run, 5, 2).unwrap()), [5, 4, 3]);
    // The own part may begin in the middle of a transaction of the base.
    run.branches[0].until = 1;
    let own = HistoryBatch {
        events: encoded(&[2, 3]),
        count: 2,
    };
    memory.0.insert(
        history_key(&run.run, 2),
        Arc::new(Record::HistoryBatch(own)),
    );
    assert_eq!(
        ids(&forward(&memory, &run, 1, 5, 256).unwrap()),
        [1, 2, 3, 4, 5]
    );
    assert_eq!(
        ids(&backward(&memory, &run, 5, 256).unwrap()),
        [5, 4, 3, 2, 1]
    );
}

#[test]
fn runs_are_found_by_id_or_as_the_newest() {
    let (memory, namespace) = signaled();
    let run = resolve(&memory, namespace, "w", "").unwrap().unwrap();
    let found = resolve(&memory, namespace, "w", &run.run_id.to_uppercase())
        .unwrap()
        .unwrap();
    assert_eq!(found.run, run.run);
    let text =
        |workflow_id: &str, run_id: &str| match resolve(&memory, namespace, workflow_id, run_id)
            .unwrap()
        {
            Err(Refusal::NotFound(text)) => text,
            other => panic!("{other:?}"),
        };
    assert_eq!(text("x", ""), "workflow not found for ID: x");
    let other = "00000000-0000-0000-0000-000000000001";
    assert_eq!(
        text("w", other),
        format!("workflow execution not found for workflow ID \"w\" and run ID \"{other}\"")
    );
    assert!(text("x", &run.run_id).contains("workflow ID \"x\""));
    assert!(
        target::current_run(&memory, namespace, &"x".repeat(70_000))
            .unwrap()
            .is_none()
    );
}
