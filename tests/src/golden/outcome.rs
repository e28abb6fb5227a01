//! What a runner printed, and what it means with the exceptions.

use super::lists::Exceptions;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// One scenario or probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As the real server.
    Passed,
    /// What the runner printed about it.
    Failed(String),
}

/// By `suite/name`.
pub type Outcomes = BTreeMap<String, Outcome>;

/// Reads the lines of a runner. A failure's details are the indented lines below it. What
/// was never recorded (`not recorded NAME`) has no expectation and so no outcome.
#[must_use]
pub fn read(suite: &str, lines: &[String]) -> Outcomes {
    let mut outcomes = Outcomes::new();
    let mut failing: Option<String> = None;
    for line in lines {
        let name = |rest: &str| {
            let word = rest.split_whitespace().next().unwrap_or_default();
            format!("{suite}/{word}")
        };
        if let Some(rest) = line.strip_prefix("ok ") {
            failing = None;
            outcomes.insert(name(rest), Outcome::Passed);
        } else if let Some(rest) = line.strip_prefix("FAIL ") {
            outcomes.insert(name(rest), Outcome::Failed(String::new()));
            failing = Some(name(rest));
        } else if line.starts_with(' ') {
            let details = failing.as_ref().and_then(|name| outcomes.get_mut(name));
            if let Some(Outcome::Failed(details)) = details {
                details.push_str(line);
                details.push('\n');
            }
        } else {
            failing = None;
        }
    }
    outcomes
}

/// The judgement of a whole run.
#[derive(Debug, Default)]
pub struct Verdict {
    /// How many are as the real server, excepted ones included.
    pub passed: usize,
    /// Failed, and a later issue builds them.
    pub later: usize,
    /// Failed, and known today.
    pub gaps: usize,
    /// Excepted, and not tried.
    pub skipped: usize,
    /// Failed, and no list holds them.
    pub unexpected: Vec<String>,
    /// Passed at the second try only.
    pub second_try: Vec<String>,
    /// Passed although a list holds them.
    pub better: Vec<String>,
}

/// Holds outcomes against the lists.
#[must_use]
pub fn judge(outcomes: &Outcomes, later: &Exceptions, gaps: &Exceptions) -> Verdict {
    let mut verdict = Verdict::default();
    for (name, outcome) in outcomes {
        match (outcome, later.hold(name), gaps.hold(name)) {
            (Outcome::Passed, later, gap) => {
                verdict.passed += 1;
                if gap {
                    verdict.better.push(format!("{name} (known_gaps.txt)"));
                } else if later {
                    verdict.better.push(format!("{name} (later.txt)"));
                }
            }
            (Outcome::Failed(_), true, _) => verdict.later += 1,
            (Outcome::Failed(_), false, true) => verdict.gaps += 1,
            (Outcome::Failed(_), false, false) => verdict.unexpected.push(name.clone()),
        }
    }
    verdict
}

impl Verdict {
    /// For people, and for the tools that add up `test result:` lines.
    #[must_use]
    pub fn text(&self, outcomes: &Outcomes) -> String {
        let mut text = String::new();
        let mut line = |line: String| {
            // Writing to a string cannot fail.
            writeln!(text, "{line}").ok();
        };
        for name in &self.better {
            line(format!("excepted, but passes: {name}"));
        }
        for name in &self.second_try {
            line(format!("passed at the second try: {name}"));
        }
        for name in &self.unexpected {
            line(format!("{name} ... FAILED"));
            if let Some(Outcome::Failed(details)) = outcomes.get(name) {
                line(details.clone());
            }
        }
        let word = if self.unexpected.is_empty() {
            "ok"
        } else {
            "FAILED"
        };
        line(format!(
            "test result: {word}. {} passed; {} failed; excepted: {} of later issues, {} known gaps, \
             {} not tried; {} excepted ones pass",
            self.passed,
            self.unexpected.len(),
            self.later,
            self.gaps,
            self.skipped,
            self.better.len()
        ));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn failures_keep_their_details() {
        let outcomes = read(
            "probes",
            &lines(
                "ok a/b\nFAIL a/c\n  expected: 1\n  got: 2\ntext a/b\n  noise\nFAIL d/e  (3.0 s)\n\
                 not recorded d/f\n  noise\n",
            ),
        );
        let failed = |text: &str| Outcome::Failed(text.to_owned());
        assert_eq!(outcomes["probes/a/b"], Outcome::Passed);
        assert_eq!(outcomes["probes/a/c"], failed("  expected: 1\n  got: 2\n"));
        assert_eq!(outcomes["probes/d/e"], failed(""));
        assert_eq!(outcomes.len(), 3);
    }

    #[test]
    fn only_listed_failures_are_forgiven() {
        let outcomes = read("s", &lines("ok a\nok b\nok c\nFAIL d\nFAIL e\nFAIL f"));
        let later = Exceptions::parse("s/b\ns/d");
        let gaps = Exceptions::parse("s/c\ns/e");
        let verdict = judge(&outcomes, &later, &gaps);
        assert_eq!((verdict.passed, verdict.later, verdict.gaps), (3, 1, 1));
        assert_eq!(verdict.unexpected, ["s/f"]);
        assert_eq!(verdict.better, ["s/b (later.txt)", "s/c (known_gaps.txt)"]);
        let text = verdict.text(&outcomes);
        assert!(text.contains("FAILED. 3 passed; 1 failed;"), "{text}");
    }
}
