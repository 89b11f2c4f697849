//! What the quickstart tells: headlines, what was tried, the answer and the rule; and the same as facts.

use mandate_model::Timestamp;
use mandate_ports::Clock;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::cast::Isolation;
use crate::output::Output;
use crate::serve::machine::SystemClock;

/// The story so far.
#[derive(Debug)]
pub(super) struct Story {
    out: Output,
    begin: Timestamp,
    isolation: Option<Isolation>,
    scenes: Vec<Scene>,
}

/// One scene, as `--output json` has it.
#[derive(Debug, Serialize)]
struct Scene {
    scene: usize,
    title: String,
    facts: Map<String, Value>,
}

impl Story {
    /// Begins.
    pub(super) fn begin(out: Output) -> Self {
        Self {
            out,
            begin: SystemClock.now(),
            isolation: None,
            scenes: Vec::new(),
        }
    }

    /// How the agents are kept apart; said aloud.
    pub(super) fn isolated(&mut self, isolation: Isolation, made: bool) {
        self.isolation = Some(isolation);
        let paint = self.out.paint();
        let is_root = rustix::process::geteuid().is_root();
        match isolation {
            Isolation::Users if made => self.says(
                "Each agent type runs as a user of its own, made for this run and removed at its end.",
            ),
            Isolation::Users => self.says(
                "Each agent type runs as a user of its own. Those that were there before stay when this ends.",
            ),
            Isolation::None => {
                let (why, mend) = if is_root {
                    ("`useradd` makes no users here", "Install it (package passwd or shadow)")
                } else {
                    ("Not root, so no users can be made", "Run this as root")
                };
                self.says(&paint.yellow(format!(
                    "{why}: the agents share your user and differ by their program alone.\n   Their identities are stamped `process-weak`. {mend} to see the real boundary."
                )));
            }
        }
    }

    /// A headline.
    pub(super) fn scene(&mut self, title: &str) {
        self.scenes.push(Scene {
            scene: self.scenes.len() + 1,
            title: title.to_owned(),
            facts: Map::new(),
        });
        let headline = format!("\n{}  {title}", self.scenes.len());
        self.out.tell(&self.out.paint().bold(headline));
    }

    /// A sentence.
    pub(super) fn says(&self, text: &str) {
        self.out.tell(&format!("   {text}"));
    }

    /// Something that could be typed.
    pub(super) fn types(&self, command: &str) {
        let paint = self.out.paint();
        self.out
            .tell(&format!("   {} {}", paint.dim("$"), paint.bold(command)));
    }

    /// It worked.
    pub(super) fn allowed(&self, what: &str, elapsed_ms: u64) {
        let paint = self.out.paint();
        let took = paint.dim(format!("{elapsed_ms} ms"));
        self.out
            .tell(&format!("   {} {what}  {took}", paint.green("allowed")));
    }

    /// More about the line before.
    pub(super) fn adds(&self, text: &str) {
        self.out.tell(&format!("           {text}"));
    }

    /// It was refused, by `rule`.
    pub(super) fn refused(&self, what: &str, rule: &str, why: &str, elapsed_ms: u64) {
        let paint = self.out.paint();
        let took = paint.dim(format!("{elapsed_ms} ms"));
        let refused = paint.red("refused");
        self.out.tell(&format!("   {refused} {what}  {took}"));
        self.out
            .tell(&format!("           {} {why}", paint.yellow(rule)));
    }

    /// Several lines, as a command printed them.
    pub(super) fn shows(&self, text: &str) {
        for line in text.lines() {
            self.out.tell(&format!("   {line}"));
        }
    }

    /// Something observed in this scene.
    pub(super) fn fact(&mut self, name: &str, value: impl Serialize) {
        let value = serde_json::to_value(value).unwrap_or(Value::Null);
        if let Some(scene) = self.scenes.last_mut() {
            scene.facts.insert(name.to_owned(), value);
        }
    }

    /// Where to go next. `left` could not be cleaned away.
    pub(super) fn end(&self, left: &[String]) {
        let elapsed_ms = SystemClock.now().since(self.begin).as_millis();
        let whole = json!({
            "isolation": self.isolation,
            "scenes": self.scenes,
            "elapsed_ms": u64::try_from(elapsed_ms).unwrap_or(u64::MAX),
            "left_behind": left,
        });
        self.out.result(&whole, |paint| {
            let seconds = format!("{}.{}", elapsed_ms / 1000, elapsed_ms % 1000 / 100);
            let mut text = format!(
                "\n{}\n",
                paint.bold(format!(
                    "That was all of it, in {seconds} s. Everything that ran is ended and removed."
                ))
            );
            for line in left {
                text.push_str(&format!("   {} {line}\n", paint.yellow("left behind:")));
            }
            text.push_str(NEXT);
            text
        });
    }
}

const NEXT: &str = "
Where to go next
   by hand, a command at a time     docs/quickstart.md
   a bundle of your own             mandate init support
   every command and exit code      docs/cli.md
   what the words mean              docs/concepts.md";
