//! What a child finds in its environment: what it is told, and nothing that happens to be in ours.

use std::ffi::OsString;
use std::path::Path;

use mandate_model::Secret;

use super::secret_file;
use crate::failure::Failure;

/// Names and values; no `Debug`, for there are secrets among them.
pub(crate) struct Environment(Vec<(OsString, Value)>);

enum Value {
    Plain(OsString),
    Secret(Secret<String>),
}

/// What the command line says about it.
#[derive(clap::Args)]
pub(crate) struct EnvironmentOptions {
    /// A variable of ours that it gets too, or one of its own. A value that others may not know does not belong
    /// on a command line: say it as --secret
    #[arg(long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// A variable with what this file holds, which nobody else may be able to read
    #[arg(long, value_name = "NAME=FILE")]
    secret: Vec<String>,
}

impl std::fmt::Debug for EnvironmentOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EnvironmentOptions(…)")
    }
}

impl Environment {
    /// What is passed on always, and what `options` add. Secrets are read here, once.
    pub(crate) fn of(options: &EnvironmentOptions) -> Result<Self, Failure> {
        let mut found = Self(Vec::new());
        for (name, value) in ours() {
            if is_passed(&name) {
                found.set(name, Value::Plain(value));
            }
        }
        for said in &options.env {
            match said.split_once('=') {
                Some((name, value)) => {
                    found.set(checked(name)?, Value::Plain(value.into()));
                }
                None => {
                    let name = checked(said)?;
                    let value = one_of_ours(&name)?;
                    found.set(name, Value::Plain(value));
                }
            }
        }
        for said in &options.secret {
            let (name, file) = said.split_once('=').ok_or_else(|| {
                Failure::usage(
                    format!("--secret {said}: it names no file"),
                    "say it as --secret NAME=FILE",
                )
            })?;
            let value = secret_file::read(Path::new(file))?;
            found.set(checked(name)?, Value::Secret(value));
        }
        Ok(found)
    }

    /// The pairs, for whoever starts the child.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&OsString, OsString)> {
        self.0.iter().map(|(name, value)| {
            let value = match value {
                Value::Plain(value) => value.clone(),
                Value::Secret(value) => value.expose().into(),
            };
            (name, value)
        })
    }

    fn set(&mut self, name: OsString, value: Value) {
        self.0.retain(|(other, _)| *other != name);
        self.0.push((name, value));
    }
}

/// Where programs, this user's files and temporary ones are, and how to write words and times.
fn is_passed(name: &OsString) -> bool {
    let name = name.to_string_lossy();
    ["PATH", "HOME", "LANG", "TMPDIR", "TZ"].contains(&name.as_ref()) || name.starts_with("LC_")
}

fn checked(name: &str) -> Result<OsString, Failure> {
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let digit = name.bytes().next().is_none_or(|b| b.is_ascii_digit());
    if digit || !name.bytes().all(is_name) {
        return Err(Failure::usage(
            format!("`{name}` is no name of an environment variable"),
            "letters, digits and `_`, not beginning with a digit",
        ));
    }
    Ok(name.into())
}

#[expect(
    clippy::disallowed_methods,
    reason = "passing some of it on is what is asked for, by name"
)]
fn ours() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os()
}

fn one_of_ours(name: &OsString) -> Result<OsString, Failure> {
    let found = ours().find(|(other, _)| other == name);
    found.map(|(_, value)| value).ok_or_else(|| {
        Failure::usage(
            format!("--env {}: there is no such variable here", name.display()),
            "set it, say its value (--env NAME=VALUE), or leave it out",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(env: &[&str], secret: &[String]) -> Result<Environment, Failure> {
        Environment::of(&EnvironmentOptions {
            env: env.iter().map(|said| (*said).to_owned()).collect(),
            secret: secret.to_vec(),
        })
    }

    fn value(environment: &Environment, name: &str) -> Option<String> {
        let found = environment.pairs().find(|(other, _)| *other == name);
        found.map(|(_, value)| value.to_string_lossy().into_owned())
    }

    #[test]
    fn a_child_gets_what_is_named_and_nothing_else() {
        let found = of(&["MODE=a=b", "CARGO_MANIFEST_DIR"], &[]).unwrap();
        assert_eq!(value(&found, "MODE").as_deref(), Some("a=b"));
        assert!(value(&found, "CARGO_MANIFEST_DIR").is_some());
        // cargo sets it for each test.
        assert_eq!(value(&found, "CARGO_PKG_NAME"), None);
        assert!(value(&found, "PATH").is_some());
        for bad in ["", "1A=x", "A B=x", "=x", "NO_SUCH_VARIABLE_HERE"] {
            assert!(of(&[bad], &[]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_secret_comes_from_a_file_that_nobody_else_reads() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "k-1\n").unwrap();
        let mode = |mode| std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        let said = format!("API_KEY={}", path.display());
        mode(0o644);
        assert!(of(&[], std::slice::from_ref(&said)).is_err());
        mode(0o600);
        let found = of(&[], &[said]).unwrap();
        assert_eq!(value(&found, "API_KEY").as_deref(), Some("k-1"));
        assert!(of(&[], &["API_KEY".to_owned()]).is_err());
    }
}
