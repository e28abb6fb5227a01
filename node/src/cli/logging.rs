//! One line per thing that matters, on standard error: text on a terminal, JSON otherwise.

use std::io::{self, IsTerminal, Write};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Starts logging for this process.
///
/// `label` is the node's number when several nodes share one terminal (`steadfast dev`): each line
/// then says whose it is. The error is one line about `level`.
pub fn start(level: &str, format: Format, label: Option<u64>) -> Result<(), String> {
    // What libraries below us say about their inner life matters to nobody who runs a cluster.
    let quiet = "openraft=error,h2=error,hyper=error,tonic=warn,tower=error,sled=error";
    let filter = EnvFilter::try_new(format!("{quiet},{level}"))
        .map_err(|error| format!("--log-level {level}: {error}; use for example `info`"))?;
    let terminal = io::stderr().is_terminal();
    let json = match format {
        Format::Auto => !terminal,
        Format::Text => false,
        Format::Json => true,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_writer(Labelled { label, json });
    let started = if json {
        builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .try_init()
    } else {
        builder.with_ansi(terminal).try_init()
    };
    started.map_err(|error| format!("cannot start logging: {error}"))
}

#[derive(Debug, Clone, Copy)]
struct Labelled {
    label: Option<u64>,
    json: bool,
}

impl<'a> MakeWriter<'a> for Labelled {
    type Writer = LabelledLine;

    fn make_writer(&'a self) -> LabelledLine {
        LabelledLine(*self)
    }
}

/// The formatter hands over each line whole, so a label goes before it.
#[derive(Debug)]
struct LabelledLine(Labelled);

impl Write for LabelledLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        io::stderr().write_all(&with_label(self.0, line))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn with_label(labelled: Labelled, line: &[u8]) -> Vec<u8> {
    let Some(id) = labelled.label else {
        return line.to_vec();
    };
    match (labelled.json, line.strip_prefix(b"{")) {
        (true, Some(rest)) => [format!("{{\"node_id\":{id},").as_bytes(), rest].concat(),
        (true, None) | (false, _) => [format!("node {id} | ").as_bytes(), line].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_whose_they_are() {
        let text = Labelled {
            label: Some(2),
            json: false,
        };
        assert_eq!(with_label(text, b"INFO hello\n"), b"node 2 | INFO hello\n");
        let json = Labelled {
            label: Some(2),
            json: true,
        };
        assert_eq!(
            with_label(json, b"{\"a\":1}\n"),
            b"{\"node_id\":2,\"a\":1}\n"
        );
    }
}
