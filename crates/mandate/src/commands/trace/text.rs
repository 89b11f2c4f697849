//! A trace for people: a tree with one line for each thing that was done.

use mandate_audit::Decision;
use serde_json::Value;

use super::tree::{Step, TaskNode, Trace};
use crate::client::members::Members;
use crate::client::words;
use crate::output::Paint;

/// The tree as lines.
///
/// Tokens are means and not deeds: they are shown on request.
pub(super) fn render(trace: &Trace, tokens: bool, paint: Paint) -> String {
    let mut text = match &trace.principal {
        Some(principal) => paint.bold(principal),
        None => paint.bold("nobody known"),
    };
    if let Some(trigger) = &trace.trigger {
        text.push_str(&format!("  {}", paint.dim(format!("trigger: {trigger}"))));
    }
    text.push('\n');
    let lines = Lines {
        paint,
        tokens,
        purpose: trace.purpose.as_deref(),
    };
    lines.task(&trace.task, "", true, &mut text);
    if trace.left_out {
        let more = "earlier records of this task are left out; --limit shows more";
        text.push_str(&format!("{}\n", paint.yellow(more)));
    }
    text
}

struct Lines<'a> {
    paint: Paint,
    tokens: bool,
    purpose: Option<&'a str>,
}

impl Lines<'_> {
    fn task(&self, task: &TaskNode, indent: &str, last: bool, text: &mut String) {
        let (branch, below) = branches(last);
        let agent = task.agent.as_deref().unwrap_or("?");
        text.push_str(&format!("{indent}{branch}{}", self.paint.bold(agent)));
        if let (Some(purpose), true) = (self.purpose, indent.is_empty()) {
            text.push_str(&format!("  for {purpose}"));
        }
        text.push_str(&format!("  {}", task.mandate.join("; ")));
        if let Some(reason) = &task.reason {
            text.push_str(&format!("  because: {reason}"));
        }
        if let Some(ended) = &task.ended {
            text.push_str(&format!("  {ended}"));
        }
        text.push_str(&format!("  {}\n", self.paint.dim(task.id)));
        let indent = format!("{indent}{below}");
        let shown = |step: &&Step| self.tokens || step.kind != "token";
        let mut left = task.steps.iter().filter(shown).count() + task.children.len();
        for step in task.steps.iter().filter(shown) {
            left -= 1;
            self.step(step, &indent, left == 0, text);
        }
        for child in &task.children {
            left -= 1;
            self.task(child, &indent, left == 0, text);
        }
    }

    fn step(&self, step: &Step, indent: &str, last: bool, text: &mut String) {
        let (branch, _) = branches(last);
        let verdict = match step.decision {
            Decision::Allowed => self.paint.green("allowed"),
            Decision::Denied => self.paint.red("refused"),
            Decision::WouldDeny => self.paint.yellow("would deny"),
            Decision::Noted => self.paint.dim("noted"),
        };
        text.push_str(&format!("{indent}{branch}{verdict}  {}", happened(step)));
        let why = why(step);
        if !why.is_empty() {
            text.push_str(&format!("  {}", self.paint.yellow(why)));
        }
        text.push_str(&format!(
            "  {}\n",
            self.paint.dim(format!("#{}", step.record))
        ));
    }
}

/// What was done, in a few words.
fn happened(step: &Step) -> String {
    let word = |name: &str| step.what.at(name).as_str().unwrap_or("?").to_owned();
    let mut text = match step.kind {
        "access" => word("request"),
        "token" => format!("{} token for {}", word("token_kind"), word("audience")),
        "refused" => word("step"),
        _ => word("kind"),
    };
    for (name, values) in &step.attributes {
        let values: Vec<String> = values.iter().map(ToString::to_string).collect();
        text.push_str(&format!("  {name}={}", values.join(",")));
    }
    if let Some(gateway) = &step.via {
        text.push_str(&format!("  via {gateway}"));
    }
    if let Some(outcome) = &step.outcome {
        text.push_str(&format!("  → {}", ended(outcome)));
    }
    text
}

fn ended(outcome: &Value) -> String {
    let how = outcome.at("outcome").as_str().unwrap_or("?");
    let bytes = outcome.at("bytes_down").as_u64().unwrap_or_default();
    let by = outcome.text("rule").map(|rule| format!(" by {rule}"));
    let usage = serde_json::from_value(outcome.at("usage").clone());
    let usage = usage.map_or_else(
        |_| String::new(),
        |usage| format!(", {}", words::of_usage(&usage)),
    );
    let ended = match outcome.at("status").as_u64() {
        Some(status) if how == "completed" => format!("{status}, {bytes} bytes"),
        Some(_) | None => format!("{how} after {bytes} bytes{}", by.unwrap_or_default()),
    };
    ended + &usage
}

/// The rule, and the policies that took part.
fn why(step: &Step) -> String {
    let policies: Vec<&str> = step.policies.iter().map(|policy| policy.as_str()).collect();
    match (&step.rule, policies.is_empty()) {
        (None, true) => String::new(),
        (Some(rule), true) => format!("by {rule}"),
        (Some(rule), false) => format!("by {rule} ({})", policies.join(", ")),
        (None, false) => format!("by policy {}", policies.join(", ")),
    }
}

fn branches(last: bool) -> (&'static str, &'static str) {
    if last {
        ("└─ ", "   ")
    } else {
        ("├─ ", "│  ")
    }
}
