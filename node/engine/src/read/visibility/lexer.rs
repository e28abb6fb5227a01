//! Cuts a query into tokens.

use super::QueryError;

/// What Temporal's parser has in front of the query when it counts positions.
const IMPLICIT_PREFIX: usize = "select * from table1 where ".len();

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A bare word: a keyword or a column's name.
    Word(String),
    /// A name in back-ticks.
    Name(String),
    /// A string in single or double quotes.
    Text(String),
    /// A number, as written.
    Number(String),
    /// An operator or a mark.
    Symbol(&'static str),
    /// The end of the query.
    End,
}

/// A token with the place where it ends.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) token: Token,
    pub(super) end: usize,
}

const SYMBOLS: &[&str] = &[
    "<=", ">=", "!=", "<>", "&&", "||", "=", "<", ">", "(", ")", ",", ";", "+", "-", "*", "/", "%",
    "!", "^", "&", "|", "~", "?", ":",
];

/// All tokens of a query; the last is [`Token::End`].
pub(super) fn tokens(query: &str) -> Result<Vec<Placed>, QueryError> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(character) = query[at..].chars().next() {
        if character.is_whitespace() {
            at += character.len_utf8();
            continue;
        }
        if query[at..].starts_with("--") {
            at = query[at..]
                .find('\n')
                .map_or(query.len(), |length| at + length);
            continue;
        }
        let (token, end) = next(query, at, character)?;
        out.push(Placed { token, end });
        at = end;
    }
    out.push(Placed {
        token: Token::End,
        end: query.len(),
    });
    Ok(out)
}

fn next(query: &str, at: usize, first: char) -> Result<(Token, usize), QueryError> {
    if matches!(first, '\'' | '"' | '`') {
        let (text, end) = quoted(query, at, first)?;
        return Ok((
            if first == '`' {
                Token::Name(text)
            } else {
                Token::Text(text)
            },
            end,
        ));
    }
    let rest = &query[at..];
    if first.is_ascii_digit()
        || (first == '.' && rest[1..].starts_with(|next: char| next.is_ascii_digit()))
    {
        let end = at + number_length(rest);
        return Ok((Token::Number(query[at..end].to_owned()), end));
    }
    if first.is_alphabetic() || matches!(first, '_' | '@' | '$') {
        let length = rest
            .find(|next: char| !(next.is_alphanumeric() || matches!(next, '_' | '.' | '$')))
            .unwrap_or(rest.len());
        return Ok((Token::Word(rest[..length].to_owned()), at + length));
    }
    match SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
        Some(symbol) => Ok((Token::Symbol(symbol), at + symbol.len())),
        None => Err(syntax_error(at + first.len_utf8(), None)),
    }
}

/// A quoted text: the quote doubled, or a backslash before it, stands for itself.
fn quoted(query: &str, at: usize, quote: char) -> Result<(String, usize), QueryError> {
    let mut text = String::new();
    let mut characters = query[at + 1..].char_indices().peekable();
    while let Some((offset, character)) = characters.next() {
        if character == quote {
            if characters.next_if(|(_, next)| *next == quote).is_some() {
                text.push(quote);
                continue;
            }
            return Ok((text, at + 1 + offset + 1));
        }
        if character == '\\' && quote != '`' {
            match characters.next() {
                Some((_, 'n')) => text.push('\n'),
                Some((_, 't')) => text.push('\t'),
                Some((_, 'r')) => text.push('\r'),
                Some((_, '0')) => text.push('\0'),
                Some((_, other)) => text.push(other),
                None => break,
            }
            continue;
        }
        text.push(character);
    }
    Err(syntax_error(query.len(), Some(&text)))
}

fn number_length(text: &str) -> usize {
    let mut length = 0;
    let bytes = text.as_bytes();
    while let Some(byte) = bytes.get(length) {
        let exponent_sign =
            matches!(byte, b'+' | b'-') && length > 0 && matches!(bytes[length - 1], b'e' | b'E');
        if !(byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E') || exponent_sign) {
            break;
        }
        length += 1;
    }
    length
}

/// Temporal's text for a query that can't be parsed.
pub(super) fn syntax_error(end: usize, near: Option<&str>) -> QueryError {
    let position = IMPLICIT_PREFIX + 1 + end;
    let near = near
        .map(|near| format!(" near '{near}'"))
        .unwrap_or_default();
    QueryError(format!(
        "malformed SQL query: syntax error at position {position}{near}"
    ))
}
