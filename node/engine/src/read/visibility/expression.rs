//! A filter: a parsed query whose names and values are known.

use super::attribute::Attribute;
use super::parser::{Expr, Literal, Operator, Statement};
use super::value::{Value, duration_nanoseconds, nanoseconds};
use super::{Candidate, QueryError, status_name};
use crate::reply::Fault;
use crate::tables::Namespace;
use std::cmp::Ordering;
use steadfast_proto::temporal::enums::v1::{IndexedValueType, WorkflowExecutionStatus};

/// A condition on rows of one namespace.
#[derive(Debug, Clone)]
pub struct Filter {
    condition: Option<Condition>,
    hides_divisions: Option<Attribute>,
    /// The column that a count is grouped by.
    pub group_by: Option<Attribute>,
}

#[derive(Debug, Clone)]
enum Condition {
    And(Vec<Condition>),
    Or(Vec<Condition>),
    Not(Box<Condition>),
    Compare {
        attribute: Attribute,
        operator: Operator,
        value: Value,
    },
    Between {
        attribute: Attribute,
        low: Value,
        high: Value,
    },
    In {
        attribute: Attribute,
        values: Vec<Value>,
    },
    StartsWith {
        attribute: Attribute,
        prefix: String,
    },
    IsNull {
        attribute: Attribute,
    },
}

impl Filter {
    /// Looks up the names of a statement in a namespace and reads its values by their types.
    ///
    /// # Errors
    /// [`QueryError`] with Temporal's text.
    pub fn new(namespace: &Namespace, statement: &Statement) -> Result<Self, QueryError> {
        let mut compiler = Compiler {
            namespace,
            names_division: false,
        };
        let condition = statement
            .condition
            .as_ref()
            .map(|expr| compiler.condition(expr))
            .transpose()?;
        let group_by = match &statement.group_by[..] {
            [] => None,
            [name] => {
                let attribute = compiler.attribute(name)?;
                if !attribute.may_group() {
                    return Err(QueryError(format!(
                        "operation is not supported: 'GROUP BY' clause is not supported for search attribute {name}"
                    )));
                }
                Some(attribute)
            }
            [_, _, ..] => {
                return Err(QueryError(
                    "operation is not supported: 'GROUP BY' clause supports only a single field"
                        .to_owned(),
                ));
            }
        };
        let hides_divisions = if compiler.names_division {
            None
        } else {
            Some(Attribute::named(namespace, "TemporalNamespaceDivision")?)
        };
        Ok(Self {
            condition,
            hides_divisions,
            group_by,
        })
    }

    /// Whether a row is chosen.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub fn matches(&self, candidate: &Candidate<'_>) -> Result<bool, Fault> {
        // Three-valued logic, as in SQL: only a condition that is true chooses.
        let chosen = match &self.condition {
            Some(condition) => condition.truth(candidate)? == Some(true),
            None => true,
        };
        match &self.hides_divisions {
            Some(division) if chosen => Ok(division.value_of(candidate)?.is_none()),
            Some(_) | None => Ok(chosen),
        }
    }
}

struct Compiler<'namespace> {
    namespace: &'namespace Namespace,
    names_division: bool,
}

impl Compiler<'_> {
    fn attribute(&mut self, name: &str) -> Result<Attribute, QueryError> {
        let attribute = Attribute::named(self.namespace, name)?;
        self.names_division |= attribute.is_division();
        Ok(attribute)
    }

    fn condition(&mut self, expr: &Expr) -> Result<Condition, QueryError> {
        Ok(match expr {
            Expr::And(terms) => Condition::And(self.conditions(terms)?),
            Expr::Or(terms) => Condition::Or(self.conditions(terms)?),
            Expr::Not(inner) => Condition::Not(Box::new(self.condition(inner)?)),
            Expr::Compare {
                column,
                operator,
                value,
            } => self.compare(column, *operator, value)?,
            Expr::Between {
                column,
                low,
                high,
                negated,
            } => negate(*negated, self.between(column, low, high)?),
            Expr::In {
                column,
                values,
                negated,
            } => {
                let attribute = self.attribute(column)?;
                let values = values
                    .iter()
                    .map(|value| literal(&attribute, value))
                    .collect::<Result<_, _>>()?;
                negate_with_absent(
                    *negated,
                    attribute.clone(),
                    Condition::In { attribute, values },
                )
            }
            Expr::StartsWith {
                column,
                prefix,
                negated,
            } => negate(*negated, self.starts_with(column, prefix, *negated)?),
            Expr::IsNull { column, negated } => {
                let attribute = self.attribute(column)?;
                negate(*negated, Condition::IsNull { attribute })
            }
        })
    }

    fn between(
        &mut self,
        column: &str,
        low: &Literal,
        high: &Literal,
    ) -> Result<Condition, QueryError> {
        let attribute = self.attribute(column)?;
        if is_multi_valued(&attribute) || attribute.value_type == IndexedValueType::Bool {
            let (name, shown) = (&attribute.name, type_name(attribute.value_type));
            return Err(QueryError(format!(
                "invalid expression: cannot do range condition on search attribute '{name}' of \
                 type {shown}"
            )));
        }
        let (low, high) = (literal(&attribute, low)?, literal(&attribute, high)?);
        Ok(Condition::Between {
            attribute,
            low,
            high,
        })
    }

    fn starts_with(
        &mut self,
        column: &str,
        prefix: &Literal,
        negated: bool,
    ) -> Result<Condition, QueryError> {
        let attribute = self.attribute(column)?;
        let operator = if negated {
            "not starts_with"
        } else {
            "starts_with"
        };
        match prefix {
            Literal::Text(text) if attribute.value_type == IndexedValueType::Keyword => {
                Ok(Condition::StartsWith {
                    attribute,
                    prefix: text.clone(),
                })
            }
            Literal::Text(_) | Literal::Number(_) | Literal::Bool(_) => {
                Err(unsupported(&attribute, operator, prefix))
            }
        }
    }

    fn conditions(&mut self, terms: &[Expr]) -> Result<Vec<Condition>, QueryError> {
        terms.iter().map(|term| self.condition(term)).collect()
    }

    fn compare(
        &mut self,
        column: &str,
        operator: Operator,
        value: &Literal,
    ) -> Result<Condition, QueryError> {
        let attribute = self.attribute(column)?;
        let is_range = !matches!(operator, Operator::Equal | Operator::NotEqual);
        if is_range
            && (is_multi_valued(&attribute) || attribute.value_type == IndexedValueType::Bool)
        {
            return Err(unsupported(&attribute, operator.shown(), value));
        }
        let value = literal(&attribute, value)?;
        if operator == Operator::NotEqual {
            let equal = Condition::Compare {
                attribute: attribute.clone(),
                operator: Operator::Equal,
                value,
            };
            return Ok(negate_with_absent(true, attribute, equal));
        }
        Ok(Condition::Compare {
            attribute,
            operator,
            value,
        })
    }
}

fn negate(negated: bool, condition: Condition) -> Condition {
    if negated {
        Condition::Not(Box::new(condition))
    } else {
        condition
    }
}

/// Negation that also chooses rows without the attribute, for the types where Temporal does.
fn negate_with_absent(negated: bool, attribute: Attribute, condition: Condition) -> Condition {
    let includes_absent = negated && is_multi_valued(&attribute);
    let condition = negate(negated, condition);
    if includes_absent {
        Condition::Or(vec![condition, Condition::IsNull { attribute }])
    } else {
        condition
    }
}

fn is_multi_valued(attribute: &Attribute) -> bool {
    matches!(
        attribute.value_type,
        IndexedValueType::KeywordList | IndexedValueType::Text
    )
}

fn type_name(value_type: IndexedValueType) -> &'static str {
    match value_type {
        IndexedValueType::Text => "Text",
        IndexedValueType::Keyword => "Keyword",
        IndexedValueType::Int => "Int",
        IndexedValueType::Double => "Double",
        IndexedValueType::Bool => "Bool",
        IndexedValueType::Datetime => "Datetime",
        IndexedValueType::KeywordList => "KeywordList",
        IndexedValueType::Unspecified => "Unspecified",
    }
}

fn unsupported(attribute: &Attribute, operator: &str, value: &Literal) -> QueryError {
    let (name, shown) = (&attribute.name, value.shown());
    let value_type = type_name(attribute.value_type);
    QueryError(format!(
        "invalid expression: operator '{operator}' not supported for {value_type} type search attribute in \
         `{name} {operator} {shown}`"
    ))
}

/// A literal as a value of the attribute's type.
fn literal(attribute: &Attribute, literal: &Literal) -> Result<Value, QueryError> {
    let name = &attribute.name;
    let invalid = |what: String| QueryError(format!("invalid expression: {what}"));
    if attribute.is_status() {
        return status(literal).map(|found| Value::Keyword(found.to_owned()));
    }
    if attribute.is_duration() {
        let (Literal::Text(text) | Literal::Number(text)) = literal else {
            return Err(wrong_value(attribute, literal));
        };
        return duration_nanoseconds(text).map(Value::Int).ok_or_else(|| {
            QueryError(format!(
                "invalid value for search attribute {name}: {text} (invalid duration)"
            ))
        });
    }
    match (attribute.value_type, literal) {
        (IndexedValueType::Datetime, Literal::Text(text)) => nanoseconds(text)
            .map(Value::Int)
            .ok_or_else(|| invalid(format!("unable to parse datetime '{text}'"))),
        (
            IndexedValueType::Datetime | IndexedValueType::Int,
            Literal::Number(number) | Literal::Text(number),
        ) => number
            .parse()
            .map(Value::Int)
            .or_else(|_| number.parse().map(Value::Double))
            .map_err(|_| wrong_value(attribute, literal)),
        (IndexedValueType::Double, Literal::Number(number) | Literal::Text(number)) => number
            .parse()
            .map(Value::Double)
            .map_err(|_| wrong_value(attribute, literal)),
        (IndexedValueType::Bool, Literal::Bool(value)) => Ok(Value::Bool(*value)),
        (IndexedValueType::Bool, Literal::Text(text)) => text
            .parse()
            .map(Value::Bool)
            .map_err(|_| wrong_value(attribute, literal)),
        (
            IndexedValueType::Keyword | IndexedValueType::KeywordList | IndexedValueType::Text,
            Literal::Text(text),
        ) => Ok(Value::Keyword(text.clone())),
        (_, Literal::Text(_) | Literal::Number(_) | Literal::Bool(_)) => {
            Err(wrong_value(attribute, literal))
        }
    }
}

fn wrong_value(attribute: &Attribute, literal: &Literal) -> QueryError {
    let (name, value_type) = (&attribute.name, type_name(attribute.value_type));
    let shown = literal.shown();
    QueryError(format!(
        "invalid value for search attribute {name} of type {value_type}: {shown}"
    ))
}

/// A status by its short name, its enum's name, or its number.
fn status(literal: &Literal) -> Result<&'static str, QueryError> {
    let known = || (1..=8).map(|status| (status, status_name(status)));
    match literal {
        Literal::Text(text) => known()
            .find(|(status, name)| {
                let proto_name =
                    WorkflowExecutionStatus::try_from(*status).map(|status| status.as_str_name());
                text == name || proto_name.is_ok_and(|proto_name| proto_name == text)
            })
            .map(|(_, name)| name)
            .ok_or_else(|| {
                QueryError(format!(
                    "invalid expression: invalid ExecutionStatus value '{text}'"
                ))
            }),
        Literal::Number(number) => {
            let status: i32 = number.parse().unwrap_or(0);
            Ok(status_name(status))
        }
        Literal::Bool(_) => {
            let shown = literal.shown();
            Err(QueryError(format!(
                "invalid expression: invalid ExecutionStatus value '{shown}'"
            )))
        }
    }
}

impl Condition {
    fn truth(&self, candidate: &Candidate<'_>) -> Result<Option<bool>, Fault> {
        Ok(match self {
            Self::And(terms) => combined(terms, candidate, false)?,
            Self::Or(terms) => combined(terms, candidate, true)?,
            Self::Not(inner) => inner.truth(candidate)?.map(|truth| !truth),
            Self::Compare {
                attribute,
                operator,
                value,
            } => attribute
                .value_of(candidate)?
                .map(|found| compares(attribute, &found, *operator, value)),
            Self::Between {
                attribute,
                low,
                high,
            } => attribute.value_of(candidate)?.map(|found| {
                compares(attribute, &found, Operator::GreaterOrEqual, low)
                    && compares(attribute, &found, Operator::LessOrEqual, high)
            }),
            Self::In { attribute, values } => attribute.value_of(candidate)?.map(|found| {
                values
                    .iter()
                    .any(|value| compares(attribute, &found, Operator::Equal, value))
            }),
            Self::StartsWith { attribute, prefix } => match attribute.value_of(candidate)? {
                Some(Value::Keyword(text)) => Some(text.starts_with(prefix.as_str())),
                Some(Value::Int(_) | Value::Double(_) | Value::Bool(_) | Value::List(_)) | None => {
                    None
                }
            },
            Self::IsNull { attribute } => Some(attribute.value_of(candidate)?.is_none()),
        })
    }
}

/// AND (`decided` false) or OR (`decided` true) with unknown terms.
fn combined(
    terms: &[Condition],
    candidate: &Candidate<'_>,
    decided: bool,
) -> Result<Option<bool>, Fault> {
    let mut result = Some(!decided);
    for term in terms {
        match term.truth(candidate)? {
            Some(truth) if truth == decided => return Ok(Some(decided)),
            Some(_) => {}
            None => result = None,
        }
    }
    Ok(result)
}

fn compares(attribute: &Attribute, found: &Value, operator: Operator, value: &Value) -> bool {
    match (attribute.value_type, found, value) {
        (IndexedValueType::KeywordList, Value::List(list), Value::Keyword(word)) => {
            list.contains(word)
        }
        (IndexedValueType::Text, Value::Keyword(text), Value::Keyword(words)) => {
            shares_word(text, words)
        }
        (_, found, value) => found.order(value).is_some_and(|order| match operator {
            Operator::Equal => order == Ordering::Equal,
            Operator::NotEqual => order != Ordering::Equal,
            Operator::Less => order == Ordering::Less,
            Operator::LessOrEqual => order != Ordering::Greater,
            Operator::Greater => order == Ordering::Greater,
            Operator::GreaterOrEqual => order != Ordering::Less,
        }),
    }
}

/// Whether any word of `words` is a word of `text`, whatever the case.
fn shares_word(text: &str, words: &str) -> bool {
    fn split(text: &str) -> impl Iterator<Item = String> + '_ {
        text.split(|character: char| !character.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
    }
    split(words).any(|word| split(text).any(|other| other == word))
}
