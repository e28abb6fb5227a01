//! The query language: a recursive-descent parser.

use super::QueryError;
use super::lexer::{Placed, Token, syntax_error, tokens};

/// Parentheses and NOTs inside each other at most; deeper queries are refused, as the parser and
/// the filter recurse.
const DEPTH_MAX: usize = 100;

/// A literal.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Text(String),
    Number(String),
    Bool(bool),
}

impl Literal {
    /// The literal as it is shown in messages.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Text(text) => format!("'{text}'"),
            Self::Number(number) => number.clone(),
            Self::Bool(value) => value.to_string(),
        }
    }
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Operator {
    pub(super) fn shown(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

/// A condition as written; names are not looked up yet.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    Compare {
        column: String,
        operator: Operator,
        value: Literal,
    },
    Between {
        column: String,
        low: Literal,
        high: Literal,
        negated: bool,
    },
    In {
        column: String,
        values: Vec<Literal>,
        negated: bool,
    },
    StartsWith {
        column: String,
        prefix: Literal,
        negated: bool,
    },
    IsNull {
        column: String,
        negated: bool,
    },
}

/// A parsed query.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    pub(super) condition: Option<Expr>,
    pub(super) group_by: Vec<String>,
}

impl Statement {
    /// Parses a query; an empty one has no condition.
    ///
    /// # Errors
    /// [`QueryError`] with Temporal's text.
    pub fn parse(query: &str) -> Result<Self, QueryError> {
        let mut parser = Parser {
            tokens: tokens(query)?,
            at: 0,
            depth: 0,
        };
        let at_clause =
            parser.is_word("group") || parser.is_word("order") || parser.is_word("limit");
        let condition = if at_clause || parser.peek() == &Token::End {
            None
        } else {
            Some(parser.or()?)
        };
        let group_by = if parser.take_word("group") {
            parser.group_by()?
        } else {
            Vec::new()
        };
        if parser.take_word("order") {
            return Err(not_supported("'ORDER BY' clause"));
        }
        if parser.take_word("limit") {
            return Err(not_supported("'LIMIT' clause"));
        }
        parser.take_symbol(";");
        if parser.peek() != &Token::End {
            return Err(parser.unexpected());
        }
        Ok(Self {
            condition,
            group_by,
        })
    }
}

fn not_supported(what: &str) -> QueryError {
    QueryError(format!("operation is not supported: {what}"))
}

fn invalid(what: String) -> QueryError {
    QueryError(format!("invalid expression: {what}"))
}

struct Parser {
    tokens: Vec<Placed>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)].token
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Word(found) if found.eq_ignore_ascii_case(word))
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.next();
        }
        found
    }

    fn take_symbol(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Token::Symbol(found) if *found == symbol);
        if found {
            self.next();
        }
        found
    }

    fn unexpected(&self) -> QueryError {
        let placed = &self.tokens[self.at.min(self.tokens.len() - 1)];
        match &placed.token {
            Token::Word(near) | Token::Name(near) | Token::Text(near) | Token::Number(near) => {
                syntax_error(placed.end, Some(near))
            }
            Token::Symbol(_) | Token::End => syntax_error(placed.end, None),
        }
    }

    fn group_by(&mut self) -> Result<Vec<String>, QueryError> {
        if !self.take_word("by") {
            return Err(self.unexpected());
        }
        let mut columns = Vec::new();
        loop {
            match self.next() {
                Token::Word(name) | Token::Name(name) => columns.push(name),
                Token::Text(_) | Token::Number(_) | Token::Symbol(_) | Token::End => {
                    return Err(self.unexpected());
                }
            }
            if !self.take_symbol(",") {
                return Ok(columns);
            }
        }
    }

    fn or(&mut self) -> Result<Expr, QueryError> {
        let mut terms = vec![self.and()?];
        while self.take_word("or") || self.take_symbol("||") {
            terms.push(self.and()?);
        }
        Ok(if terms.len() == 1 {
            terms.remove(0)
        } else {
            Expr::Or(terms)
        })
    }

    fn and(&mut self) -> Result<Expr, QueryError> {
        let mut terms = vec![self.not()?];
        while self.take_word("and") || self.take_symbol("&&") {
            terms.push(self.not()?);
        }
        Ok(if terms.len() == 1 {
            terms.remove(0)
        } else {
            Expr::And(terms)
        })
    }

    fn not(&mut self) -> Result<Expr, QueryError> {
        if self.take_word("not") || self.take_symbol("!") {
            self.deeper()?;
            let inner = self.not()?;
            self.depth -= 1;
            return Ok(Expr::Not(Box::new(inner)));
        }
        if self.take_symbol("(") {
            self.deeper()?;
            let inner = self.or()?;
            self.depth -= 1;
            if !self.take_symbol(")") {
                return Err(self.unexpected());
            }
            return Ok(inner);
        }
        self.condition()
    }

    fn deeper(&mut self) -> Result<(), QueryError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            Err(self.unexpected())
        } else {
            Ok(())
        }
    }

    fn condition(&mut self) -> Result<Expr, QueryError> {
        let column = self.column()?;
        let negated = self.take_word("not");
        if self.take_word("between") {
            let low = self.value()?;
            if !self.take_word("and") {
                return Err(self.unexpected());
            }
            return Ok(Expr::Between {
                column,
                low,
                high: self.value()?,
                negated,
            });
        }
        if self.take_word("in") {
            return Ok(Expr::In {
                column,
                values: self.list()?,
                negated,
            });
        }
        if self.take_word("starts_with") {
            return Ok(Expr::StartsWith {
                column,
                prefix: self.value()?,
                negated,
            });
        }
        for refused in ["like", "regexp", "rlike"] {
            if self.take_word(refused) {
                let value = self.value()?.shown();
                let not = if negated { "not " } else { "" };
                return Err(invalid(format!(
                    "invalid operator '{not}{refused}' in `{column} {not}{refused} {value}`"
                )));
            }
        }
        if negated {
            return Err(self.unexpected());
        }
        if self.take_word("is") {
            let negated = self.take_word("not");
            if !self.take_word("null") {
                return Err(self.unexpected());
            }
            return Ok(Expr::IsNull { column, negated });
        }
        let Some(operator) = self.operator() else {
            return match self.peek() {
                Token::Word(_) if !self.ends_condition() => Err(self.unexpected()),
                Token::Word(_) | Token::End => Err(invalid("incomplete expression".to_owned())),
                Token::Symbol(")" | ";" | "&&" | "||") => {
                    Err(invalid("incomplete expression".to_owned()))
                }
                Token::Symbol("(") => Err(invalid("unexpected function call".to_owned())),
                Token::Symbol(_) | Token::Name(_) | Token::Text(_) | Token::Number(_) => {
                    Err(self.unexpected())
                }
            };
        };
        Ok(Expr::Compare {
            column,
            operator,
            value: self.value()?,
        })
    }

    fn ends_condition(&self) -> bool {
        ["and", "or", "group", "order", "limit"]
            .iter()
            .any(|word| self.is_word(word))
    }

    fn operator(&mut self) -> Option<Operator> {
        let operator = match self.peek() {
            Token::Symbol("=") => Operator::Equal,
            Token::Symbol("!=" | "<>") => Operator::NotEqual,
            Token::Symbol("<") => Operator::Less,
            Token::Symbol("<=") => Operator::LessOrEqual,
            Token::Symbol(">") => Operator::Greater,
            Token::Symbol(">=") => Operator::GreaterOrEqual,
            Token::Symbol(_)
            | Token::Word(_)
            | Token::Name(_)
            | Token::Text(_)
            | Token::Number(_)
            | Token::End => {
                return None;
            }
        };
        self.next();
        Some(operator)
    }

    fn column(&mut self) -> Result<String, QueryError> {
        match self.peek().clone() {
            Token::Word(_) if self.ends_condition() || self.is_word("select") => {
                Err(self.unexpected())
            }
            Token::Word(name) | Token::Name(name) => {
                self.next();
                Ok(name)
            }
            Token::Text(_) | Token::Number(_) => {
                self.next();
                if self.operator().is_some() {
                    return Err(invalid(
                        "must be a column name but was *sqlparser.SQLVal".to_owned(),
                    ));
                }
                Err(self.unexpected())
            }
            Token::Symbol(_) | Token::End => Err(self.unexpected()),
        }
    }

    fn list(&mut self) -> Result<Vec<Literal>, QueryError> {
        if !self.take_symbol("(") {
            return Err(self.unexpected());
        }
        if self.is_word("select") {
            return Err(invalid(
                "unexpected value type *sqlparser.Subquery".to_owned(),
            ));
        }
        let mut values = vec![self.value()?];
        while self.take_symbol(",") {
            values.push(self.value()?);
        }
        if self.take_symbol(")") {
            Ok(values)
        } else {
            Err(self.unexpected())
        }
    }

    fn value(&mut self) -> Result<Literal, QueryError> {
        let minus = self.take_symbol("-");
        let sign = minus || self.take_symbol("+");
        let value = match self.peek().clone() {
            Token::Number(number) => {
                Literal::Number(if minus { format!("-{number}") } else { number })
            }
            Token::Text(text) if !sign => Literal::Text(text),
            Token::Word(word) if !sign => match word.to_ascii_lowercase().as_str() {
                "true" => Literal::Bool(true),
                "false" => Literal::Bool(false),
                "null" => {
                    return Err(invalid(
                        "unexpected value type *sqlparser.NullVal".to_owned(),
                    ));
                }
                _ => return Err(column_on_right(&word)),
            },
            Token::Name(name) if !sign => return Err(column_on_right(&name)),
            Token::Word(_) | Token::Name(_) | Token::Text(_) | Token::Symbol(_) | Token::End => {
                return Err(self.unexpected());
            }
        };
        self.next();
        if matches!(self.peek(), Token::Symbol("+" | "-" | "*" | "/" | "%")) {
            return Err(invalid(
                "unexpected value type *sqlparser.BinaryExpr".to_owned(),
            ));
        }
        Ok(value)
    }
}

fn column_on_right(name: &str) -> QueryError {
    not_supported(&format!(
        "column name on the right side of comparison expression (did you forget to quote '{name}'?)"
    ))
}
