use super::*;
use crate::id::RunRef;
use crate::read::memory::Memory;
use crate::tables::Namespace;
use crate::tables::keys::visibility_key;
use crate::time::Timestamp;
use std::collections::BTreeMap;

const NS: NamespaceNumber = NamespaceNumber(1);

fn namespace() -> Namespace {
    Namespace {
        number: NS,
        id: String::new(),
        name: "n".to_owned(),
        state: 1,
        description: String::new(),
        owner_email: String::new(),
        data: BTreeMap::new(),
        retention: crate::time::Span::seconds(1),
        search_attributes: [
            ("VKeyword", 2),
            ("VInt", 3),
            ("VList", 7),
            ("VText", 1),
            ("VBool", 5),
            ("Odd Name", 2),
        ]
        .map(|(name, value_type)| (name.to_owned(), value_type))
        .into(),
        created_at: Timestamp(0),
        config: Vec::new(),
    }
}

/// Runs a..e, started one after another; a and b are closed, in this order.
fn tables() -> Memory {
    let mut memory = Memory::default();
    let rows = [
        ("a", "Order", 2),
        ("b", "Order", 3),
        ("c", "Invoice", 1),
        ("d", "Order", 1),
        ("e", "Big", 1),
    ];
    for ((id, workflow_type, status), number) in rows.into_iter().zip(1_u32..) {
        let started_at = Timestamp(i64::from(number) * 1_000_000_000);
        let closed_at = (status != 1).then(|| Timestamp(started_at.0 + 100_000_000_000));
        let row = VisibilityRow {
            run: RunRef {
                namespace: NS,
                workflow_id: id.to_owned(),
                number: u64::from(number),
            },
            run_id: format!("run-{id}"),
            workflow_type: workflow_type.to_owned(),
            task_queue: "q".to_owned(),
            status,
            started_at,
            execution_at: started_at,
            closed_at,
            history_length: 5,
            history_bytes: 100,
            state_transitions: 3,
        };
        let key = visibility_key(NS, started_at, closed_at, u64::from(number));
        memory.0.insert(key, Arc::new(Record::Visibility(row)));
    }
    memory
}

fn listed(query: &str) -> Result<String, QueryError> {
    let filter = Filter::new(&namespace(), &Statement::parse(query)?)?;
    let tables = tables();
    let candidates = slice(&tables, NS, None).unwrap();
    let chosen = candidates
        .iter()
        .filter(|candidate| filter.matches(candidate).unwrap());
    Ok(chosen
        .map(|candidate| candidate.row().run.workflow_id.clone())
        .collect())
}

#[test]
fn queries_choose_rows_in_listing_order() {
    for (query, expected) in [
        ("", "edcba"),
        ("  ", "edcba"),
        ("WorkflowId = 'a'", "a"),
        ("WorkflowId IN (\"a\", 'c', 'x')", "ca"),
        ("WorkflowId NOT IN ('a', 'b')", "edc"),
        ("WorkflowId BETWEEN 'b' AND 'd'", "dcb"),
        ("`WorkflowId` > 'c'", "ed"),
        (
            "WorkflowType STARTS_WITH 'O' and not ExecutionStatus = 'Running'",
            "ba",
        ),
        ("WorkflowType not starts_with 'O'", "ec"),
        (
            "ExecutionStatus = WORKFLOW_EXECUTION_STATUS_RUNNING OR 1 = 1",
            "!column name on the right side",
        ),
        (
            "ExecutionStatus = 'WORKFLOW_EXECUTION_STATUS_RUNNING'",
            "edc",
        ),
        ("ExecutionStatus = 2", "a"),
        ("ExecutionStatus IN ('Failed', 2)", "ba"),
        ("ExecutionStatus != 'Running'", "ba"),
        ("ExecutionStatus <> 'Running';", "ba"),
        ("CloseTime IS NULL", "edc"),
        ("CloseTime IS NOT NULL -- why", "ba"),
        ("StartTime >= '1970-01-01T00:00:03Z'", "edc"),
        ("StartTime < 3000000000", "ba"),
        ("ExecutionDuration > '90s' && HistoryLength = 5", "ba"),
        ("ExecutionDuration = '00:01:40'", "ba"),
        (
            "WorkflowId = 'a' OR WorkflowId = 'd' AND WorkflowType = 'Invoice'",
            "a",
        ),
        ("NOT (WorkflowId = 'a' OR WorkflowType = 'Order')", "ec"),
        ("NOT NOT RunId = 'run-b'", "b"),
        ("VKeyword IS NULL", "edcba"),
        ("VInt != 5", ""),
        ("VList != 'x'", "edcba"),
        ("TemporalNamespaceDivision IS NULL", "edcba"),
        ("ScheduleId = 'a'", "a"),
    ] {
        match (listed(query), expected.strip_prefix('!')) {
            (Ok(found), None) => assert_eq!(found, expected, "{query}"),
            (Err(error), Some(text)) => assert!(error.0.contains(text), "{query}: {error}"),
            (found, _) => panic!("{query}: {found:?}"),
        }
    }
}

/// Queries and what is wrong with them, in Temporal's words.
const REFUSED: &[(&str, &str)] = &[
    (
        "Nope = 'x'",
        "invalid expression: column name 'Nope' is not a valid search attribute",
    ),
    (
        "vkeyword = 'x'",
        "invalid expression: column name 'vkeyword' is not a valid search attribute",
    ),
    (
        "a.b = 'x'",
        "invalid expression: column name 'a.b' is not a valid search attribute",
    ),
    (
        "VInt == 10",
        "malformed SQL query: syntax error at position 35",
    ),
    (
        "VInt IN ()",
        "malformed SQL query: syntax error at position 38",
    ),
    (
        "(VInt = 1",
        "malformed SQL query: syntax error at position 37",
    ),
    ("*", "malformed SQL query: syntax error at position 29"),
    (
        "Odd Name = 'odd'",
        "malformed SQL query: syntax error at position 36 near 'Name'",
    ),
    ("VBool", "invalid expression: incomplete expression"),
    (
        "VInt = 1 + 1",
        "invalid expression: unexpected value type *sqlparser.BinaryExpr",
    ),
    (
        "1 = VInt",
        "invalid expression: must be a column name but was *sqlparser.SQLVal",
    ),
    (
        "VInt IN (SELECT 1)",
        "invalid expression: unexpected value type *sqlparser.Subquery",
    ),
    (
        "VKeyword = NULL",
        "invalid expression: unexpected value type *sqlparser.NullVal",
    ),
    (
        "VKeyword = alpha",
        "operation is not supported: column name on the right side of comparison expression (did you forget to \
             quote 'alpha'?)",
    ),
    (
        "VKeyword LIKE 'al%'",
        "invalid expression: invalid operator 'like' in `VKeyword like 'al%'`",
    ),
    (
        "VInt > 1 ORDER BY VInt DESC",
        "operation is not supported: 'ORDER BY' clause",
    ),
    (
        "VList > 'red'",
        "invalid expression: operator '>' not supported for KeywordList type search attribute in `VList > 'red'`",
    ),
    (
        "VList BETWEEN 'a' AND 'c'",
        "invalid expression: cannot do range condition on search attribute 'VList' of type KeywordList",
    ),
    (
        "StartTime > '2000-01-01'",
        "invalid expression: unable to parse datetime '2000-01-01'",
    ),
    (
        "ExecutionStatus = 'running'",
        "invalid expression: invalid ExecutionStatus value 'running'",
    ),
    (
        "ExecutionDuration > 'ten minutes'",
        "invalid value for search attribute ExecutionDuration: ten minutes (invalid duration)",
    ),
    (
        "GROUP BY ExecutionStatus, TaskQueue",
        "operation is not supported: 'GROUP BY' clause supports only a single field",
    ),
    (
        "GROUP BY TaskQueue",
        "operation is not supported: 'GROUP BY' clause is not supported for search attribute TaskQueue",
    ),
];

#[test]
fn bad_queries_are_refused_with_temporals_texts() {
    let invalid = "invalid query: ";
    for (query, text) in REFUSED {
        assert_eq!(
            listed(query).unwrap_err().to_string(),
            format!("{invalid}{text}"),
            "{query}"
        );
    }
    for query in [
        "'",
        "VInt = ",
        "this is not a query",
        "`",
        "VKeyword = 'alpha",
        "UPPER(VKeyword) = 'A'",
        "\u{0}",
        "é = ' ",
    ] {
        assert!(listed(query).is_err(), "{query}");
    }
    assert!(
        listed(&format!(
            "{}VInt = 1{}",
            "(".repeat(10_000),
            ")".repeat(10_000)
        ))
        .is_err()
    );
    assert!(listed(&"NOT ".repeat(10_000)).is_err());
}

#[test]
fn stored_attributes_are_read_by_type() {
    use super::value::Value;
    use steadfast_proto::temporal::enums::v1::IndexedValueType as T;
    for (json, value_type, value) in [
        (
            r#""a\"b""#,
            T::Keyword,
            Some(Value::Keyword("a\"b".to_owned())),
        ),
        ("7", T::Int, Some(Value::Int(7))),
        ("[7]", T::Int, Some(Value::Int(7))),
        ("1.5", T::Double, Some(Value::Double(1.5))),
        ("true", T::Bool, Some(Value::Bool(true))),
        (
            r#"["a", "b,c"]"#,
            T::KeywordList,
            Some(Value::List(vec!["a".to_owned(), "b,c".to_owned()])),
        ),
        ("[]", T::KeywordList, None),
        ("null", T::Keyword, None),
        (
            r#""1970-01-01T00:00:01Z""#,
            T::Datetime,
            Some(Value::Int(1_000_000_000)),
        ),
        ("{", T::Int, None),
        (r#""open"#, T::Keyword, None),
    ] {
        assert_eq!(
            Value::from_json(json.as_bytes(), value_type),
            value,
            "{json}"
        );
    }
}
