//! The files of a bundle, from a folder, and what it needs to know about where it is loaded.

use std::path::Path;

use mandate_model::{Timestamp, TrustDomain};
use mandate_policy::{LoadEnv, Mistake, Severity, SourceFile};
use mandate_ports::Clock;
use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report,
};
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::Failure;
use crate::output::Paint;
use crate::serve::endpoints::Endpoints;
use crate::serve::identity::Identity;
use crate::serve::machine::SystemClock;

/// Reads all `.yaml` and `.yml` files below `folder`, sorted by name; or the one file that it is.
pub(crate) fn read(folder: &Path) -> Result<Vec<SourceFile>, Failure> {
    let mut files = Vec::new();
    let failed = |e: std::io::Error| Failure::file(folder, &e);
    if folder.is_file() {
        let name = folder.file_name().unwrap_or(folder.as_os_str());
        files.push(SourceFile {
            name: name.to_string_lossy().into_owned(),
            text: std::fs::read_to_string(folder).map_err(failed)?,
        });
    } else {
        collect(folder, "", &mut files)?;
        files.sort_by(|a, b| a.name.cmp(&b.name));
    }
    let says_nothing = |file: &SourceFile| file.text.lines().all(is_blank);
    if !files.is_empty() && files.iter().all(says_nothing) {
        return Err(Failure::usage(
            format!("{} declares nothing", folder.display()),
            "a bundle that is to permit nothing has at least an `Operator`; begin one with `mandate init FOLDER`",
        ));
    }
    if files.is_empty() {
        return Err(Failure::usage(
            format!("{} holds no .yaml file", folder.display()),
            "name the bundle's folder, or make one: mandate init FOLDER",
        ));
    }
    Ok(files)
}

/// Nothing, a comment, or the line between two documents.
fn is_blank(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#') || line == "---"
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<SourceFile>) -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::file(folder, &e);
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let own = entry.file_name().to_string_lossy().into_owned();
        let (path, name) = (entry.path(), format!("{prefix}{own}"));
        // What editors and version control keep beside the files.
        if own.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            collect(&path, &format!("{name}/"), files)?;
        } else if own.ends_with(".yaml") || own.ends_with(".yml") {
            let text = std::fs::read_to_string(&path).map_err(|e| Failure::file(&path, &e))?;
            files.push(SourceFile { name, text });
        }
    }
    Ok(())
}

/// The name space and issuer of the server that the session is with; or the running server's; its last ones, if it does not run; the defaults of
/// `serve`, if there never was one here.
pub(crate) fn environment(context: &Context) -> Result<LoadEnv, Failure> {
    let (domain, issuer) = match &context.elsewhere {
        Some(elsewhere) => {
            let session = elsewhere.session()?;
            (session.trust_domain, session.issuer)
        }
        None => match Endpoints::read(&context.data.endpoints()) {
            Ok(endpoints) => (endpoints.trust_domain, endpoints.issuer),
            Err(_) => Identity::of(&context.data)?,
        },
    };
    Ok(LoadEnv {
        trust_domain: TrustDomain::parse(&domain)
            .map_err(|e| Failure::failed(e.to_string(), "restart the server"))?,
        issuer,
    })
}

/// The wall clock, for `observe` periods.
pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}

/// Mistakes as people see them: the line, the text underlined, the mend.
pub(crate) fn show(mistakes: &[Mistake], files: &[SourceFile], paint: Paint) -> String {
    let theme = if paint.is_on() {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(100);
    let mut text = String::new();
    for mistake in mistakes {
        // A `String` takes whatever is written.
        let _ = handler.render_report(&mut text, report(mistake, files).as_ref());
        text.push('\n');
    }
    text
}

fn report(mistake: &Mistake, files: &[SourceFile]) -> Report {
    let severity = match mistake.severity {
        Severity::Error => miette::Severity::Error,
        Severity::Warning => miette::Severity::Warning,
    };
    let source = files.iter().find(|file| file.name == mistake.file);
    let text = source.map(|file| file.text.as_str()).unwrap_or_default();
    let is_shown = text.lines().all(|line| line.len() <= LONGEST_LINE);
    let message = if is_shown {
        mistake.message.clone()
    } else {
        let Mistake {
            file, line, column, ..
        } = mistake;
        format!("{file}:{line}:{column}: {}", mistake.message)
    };
    let mut diagnostic = MietteDiagnostic::new(message).with_severity(severity);
    if let Some(help) = &mistake.help {
        diagnostic = diagnostic.with_help(help);
    }
    if !is_shown {
        return Report::new(diagnostic);
    }
    let label = LabeledSpan::underline((mistake.offset, mistake.length));
    let source = NamedSource::new(&mistake.file, text.to_owned());
    Report::new(diagnostic.with_label(label)).with_source_code(source)
}

/// That a bundle does not load, in short.
pub(crate) fn refused(mistakes: &[Mistake], folder: &Path) -> Failure {
    let is_error = |mistake: &&Mistake| mistake.severity == Severity::Error;
    let first = mistakes.iter().find(is_error).map(ToString::to_string);
    Failure::failed(
        format!("the bundle does not load: {}", first.unwrap_or_default()),
        format!("`mandate check {}` shows every mistake", folder.display()),
    )
}

/// `1 error, 2 warnings`.
pub(crate) fn count(mistakes: &[Mistake]) -> String {
    let errors = mistakes
        .iter()
        .filter(|m| m.severity == Severity::Error)
        .count();
    let warnings = mistakes.len() - errors;
    let of = |n: usize, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
    format!("{}, {}", of(errors, "error"), of(warnings, "warning"))
}

/// The files as the authority takes them.
pub(crate) fn wire(files: &[SourceFile]) -> Value {
    files
        .iter()
        .map(|file| json!([file.name, file.text]))
        .collect()
}

/// No person reads a longer one, and no terminal shows it.
const LONGEST_LINE: usize = 2_000;
