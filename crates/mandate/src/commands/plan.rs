//! `mandate plan`: what a bundle would change, in terms of access.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mandate_model::BundleVersion;
use mandate_policy::{AccessRow, Bundle, Change, ConditionChange, Plan, SourceFile};
use serde_json::{Value, json};

use super::live::Live;
use super::{access, bundle_files};
use crate::client::operator::Operator;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::Paint;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Access that comes and goes is decided exactly. Of a changed condition it is not guessed whether it widens
or narrows: both are shown.

Example:
  mandate plan support")]
pub(crate) struct Args {
    /// The bundle's folder, or one file
    bundle: PathBuf,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let planned = Planned::against_live(&args.bundle, context).await?;
    let result = planned.value();
    context.out.result(&result, |paint| planned.text(paint));
    Ok(Exit::Ok)
}

/// A bundle, and what it would change.
pub(crate) struct Planned {
    /// The files.
    pub(crate) files: Vec<SourceFile>,
    /// The version that this was compared with; zero if none is live.
    pub(crate) base: BundleVersion,
    plan: Plan,
}

impl Planned {
    /// Compares the bundle in `folder` with the live one.
    pub(crate) async fn against_live(folder: &Path, context: &Context) -> Result<Self, Failure> {
        let files = bundle_files::read(folder)?;
        let environment = bundle_files::environment(context)?;
        let loaded = mandate_policy::load(&files, &environment, bundle_files::now());
        let loaded = loaded.map_err(|mistakes| {
            let paint = context.out.paint();
            if !context.out.is_json() {
                context
                    .out
                    .note(&bundle_files::show(&mistakes, &files, paint));
            }
            bundle_files::refused(&mistakes, folder)
        })?;
        let live = Live::read(&Operator::of(context)?, None).await?;
        Self::of(files, &loaded.bundle, &live, context)
    }

    /// Compares an earlier version with the live one.
    pub(crate) async fn back_to(
        version: BundleVersion,
        context: &Context,
    ) -> Result<Self, Failure> {
        let operator = Operator::of(context)?;
        let earlier = Live::read(&operator, Some(version)).await?;
        let new = earlier.compile(context)?.ok_or_else(|| {
            Failure::failed(
                format!("bundle version {version} declares nothing"),
                "`mandate audit search --kind bundle_applied` lists the versions",
            )
        })?;
        let live = Live::read(&operator, None).await?;
        Self::of(earlier.files(), &new, &live, context)
    }

    fn of(
        files: Vec<SourceFile>,
        new: &Bundle,
        live: &Live,
        context: &Context,
    ) -> Result<Self, Failure> {
        let old = live.compile(context)?;
        Ok(Self {
            files,
            base: live.version,
            plan: mandate_policy::plan(old.as_ref(), new),
        })
    }

    /// Whether it would change nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.plan.is_empty()
    }

    /// As JSON.
    pub(crate) fn value(&self) -> Value {
        let rows = |rows: &[AccessRow]| rows.iter().map(access::value).collect::<Vec<_>>();
        json!({
            "base": self.base,
            "upstreams": self.plan.upstreams.iter().map(change).collect::<Vec<_>>(),
            "weakens": self.plan.weakens.iter().map(change).collect::<Vec<_>>(),
            "gains": rows(&self.plan.gains),
            "losses": rows(&self.plan.losses),
            "conditions": self.plan.conditions.iter().map(condition).collect::<Vec<_>>(),
            "others": self.plan.others.iter().map(change).collect::<Vec<_>>(),
        })
    }

    /// For people. Where secrets go comes first.
    pub(crate) fn text(&self, paint: Paint) -> String {
        if self.is_empty() {
            return format!("nothing changes against version {}", self.base);
        }
        let against = match self.base.get() {
            0 => "Against nothing: no bundle is live\n".to_owned(),
            version => format!("Against version {version}\n"),
        };
        let mut text = paint.bold(against);
        for change in &self.plan.upstreams {
            let label = match change.kind {
                "TrustProvider" => "! provider",
                _ => "! upstream",
            };
            text.push_str(&format!("{} {change}\n", paint.yellow(label)));
        }
        for change in &self.plan.weakens {
            text.push_str(&format!("{} {change}\n", paint.yellow("! weakens")));
        }
        for row in &self.plan.gains {
            text.push_str(&format!("{} {}\n", paint.green("+ gains"), line(row)));
        }
        for row in &self.plan.losses {
            text.push_str(&format!("{} {}\n", paint.red("- loses"), line(row)));
        }
        for change in &self.plan.conditions {
            text.push_str(&format!(
                "{} {}\n",
                paint.yellow("~ other conditions"),
                line(&change.row)
            ));
            text.push_str(&format!("    before: {}\n", before(change)));
        }
        for line in others(&self.plan.others) {
            text.push_str(&format!("{} {line}\n", paint.dim("  also")));
        }
        text
    }
}

/// A declaration that comes or goes is one line, one that changes a line for each field.
fn others(changes: &[Change]) -> Vec<String> {
    let mut declarations: BTreeMap<(&str, &str), Vec<&Change>> = BTreeMap::new();
    for change in changes {
        let declaration = (change.kind, change.name.as_str());
        declarations.entry(declaration).or_default().push(change);
    }
    let mut lines = Vec::new();
    for ((kind, name), changes) in declarations {
        if changes.iter().all(|change| change.before.is_none()) {
            lines.push(format!("new {kind} `{name}`{}", telling(kind, &changes)));
        } else if changes.iter().all(|change| change.after.is_none()) {
            lines.push(format!("no more {kind} `{name}`"));
        } else {
            lines.extend(changes.iter().map(ToString::to_string));
        }
    }
    lines
}

/// What a new declaration says that gives or waives anything: a name alone would hide it.
fn telling(kind: &str, changes: &[&Change]) -> String {
    let tells = |change: &&&Change| match kind {
        "ServerWorkload" => change.field == "observe.until",
        "AgentType" => !change.field.starts_with("breakGlass"),
        _ => true,
    };
    let said = changes.iter().filter(tells);
    let said: Vec<String> = said
        .filter_map(|change| Some(format!("{} {}", change.field, change.after.as_ref()?)))
        .collect();
    if said.is_empty() {
        String::new()
    } else {
        format!(": {}", said.join("; "))
    }
}

fn line(row: &AccessRow) -> String {
    let hosted = row.as_hosted.as_ref();
    let hosted = hosted.map(|name| format!(" as {name}")).unwrap_or_default();
    let conditions = access::conditions(&row.ways, &row.guardrails).replace('\n', "; ");
    let tasks = access::tasks(&row.tasks, &row.any_user);
    format!(
        "{}{hosted} {}:{}  {conditions}; in tasks for: {tasks}",
        row.agent, row.server, row.action
    )
}

fn before(change: &ConditionChange) -> String {
    let conditions = access::conditions(&change.before, &change.guardrails_before);
    let tasks = access::tasks(&change.tasks_before, &change.any_user_before);
    format!("{}; in tasks for: {tasks}", conditions.replace('\n', "; "))
}

fn change(change: &Change) -> Value {
    json!({
        "kind": change.kind,
        "name": change.name,
        "field": change.field,
        "before": change.before,
        "after": change.after,
    })
}

fn condition(change: &ConditionChange) -> Value {
    let before: Vec<Value> = change
        .before
        .iter()
        .map(|way| json!({ "policy": way.policy, "conditions": way.conditions }))
        .collect();
    json!({
        "row": access::value(&change.row),
        "before": before,
        "guardrails_before": change.guardrails_before,
        "tasks_before": change.tasks_before,
        "any_user_before": change.any_user_before,
    })
}
