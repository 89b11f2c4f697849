//! The local configuration: read once, checked whole.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mandate_model::SecretName;
use mandate_ports::Origin;

use crate::guarded::{self, Guard, Stamp};
use crate::source::Source;
use crate::{parse_origin, tls};

/// Why a local configuration is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read, or others can write it.
    #[error("{0}")]
    Unreadable(String),
    /// It is no YAML of the expected shape.
    #[error("`{}` is malformed: {reason}", .file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// Where and what.
        reason: String,
    },
    /// It says what cannot be.
    #[error("`{}` has {} mistakes: {}", .file.display(), .mistakes.len(), list(.mistakes))]
    Mistakes {
        /// The file.
        file: PathBuf,
        /// All of them.
        mistakes: Vec<Mistake>,
    },
}

/// One mistake of a local configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The key: `secrets.records-key.origins`.
    pub key: String,
    /// What is wrong and the mend.
    pub message: String,
}

fn list(mistakes: &[Mistake]) -> String {
    let lines = mistakes
        .iter()
        .map(|m| format!("`{}`: {}", m.key, m.message));
    lines.collect::<Vec<_>>().join("; ")
}

/// A checked configuration.
pub(crate) struct Config {
    pub(crate) secrets: HashMap<SecretName, Mapped>,
    pub(crate) tls: HashMap<Origin, Arc<rustls::ClientConfig>>,
    /// By the names that server workloads use.
    pub(crate) cas: HashMap<String, Arc<rustls::ClientConfig>>,
    pub(crate) default_tls: Arc<rustls::ClientConfig>,
    /// The files that it was made of.
    pub(crate) stamps: Vec<(PathBuf, Option<Stamp>)>,
}

/// Where a secret comes from and where it may go. There is at least one origin.
#[derive(Debug, Clone)]
pub(crate) struct Mapped {
    pub(crate) source: Source,
    pub(crate) origins: Vec<Origin>,
}

impl Config {
    /// Reads and checks `file` and the certificates that it names.
    pub(crate) fn read(file: &Path) -> Result<Self, ConfigError> {
        let (stamp, bytes) =
            guarded::read(file, Guard::Unwritable).map_err(ConfigError::Unreadable)?;
        let malformed = |reason| ConfigError::Malformed {
            file: file.to_owned(),
            reason,
        };
        let text = String::from_utf8(bytes).map_err(|e| malformed(e.to_string()))?;
        let raw: RawConfig = serde_saphyr::from_str(&text).map_err(|e| malformed(e.to_string()))?;
        let mut mistakes = Vec::new();
        let config = Self::check(raw, (file.to_owned(), Some(stamp)), &mut mistakes);
        match config {
            Some(config) if mistakes.is_empty() => Ok(config),
            _ => Err(ConfigError::Mistakes {
                file: file.to_owned(),
                mistakes,
            }),
        }
    }

    fn check(
        raw: RawConfig,
        own: (PathBuf, Option<Stamp>),
        mistakes: &mut Vec<Mistake>,
    ) -> Option<Self> {
        let mut stamps = vec![own];
        let secrets = raw.secrets.into_iter();
        let secrets = secrets
            .filter_map(|(name, raw)| secret(&name, raw, mistakes))
            .collect();
        let mut tls = HashMap::new();
        for (text, RawOrigin { ca }) in raw.origins {
            let key = format!("origins.{text}");
            let origin = note(&key, parse_origin(&text), mistakes);
            stamps.push((ca.clone(), Stamp::of(&ca)));
            let config = note(&format!("{key}.ca"), tls::with_ca(&ca), mistakes);
            tls.extend(origin.zip(config));
        }
        let mut cas = HashMap::new();
        for (name, file) in raw.cas {
            stamps.push((file.clone(), Stamp::of(&file)));
            let config = note(&format!("cas.{name}"), tls::with_ca(&file), mistakes);
            cas.extend(config.map(|config| (name, config)));
        }
        let default_tls = note("origins", tls::public(), mistakes)?;
        Some(Self {
            secrets,
            tls,
            cas,
            default_tls,
            stamps,
        })
    }
}

fn secret(name: &str, raw: RawSecret, mistakes: &mut Vec<Mistake>) -> Option<(SecretName, Mapped)> {
    let key = format!("secrets.{name}");
    let parsed = note(&key, SecretName::parse(name), mistakes);
    let source = note(&key, source(raw.file, raw.env, raw.command), mistakes);
    let pins = format!("{key}.origins");
    let mut origins = Vec::new();
    for text in &raw.origins {
        origins.extend(note(&pins, parse_origin(text), mistakes));
    }
    if raw.origins.is_empty() {
        let none = "say at least one origin that the secret may be sent to";
        note(&pins, Err::<(), _>(none), mistakes);
    }
    let mapped = Mapped {
        source: source?,
        origins,
    };
    Some((parsed?, mapped))
}

fn source(
    file: Option<PathBuf>,
    env: Option<String>,
    command: Option<Vec<String>>,
) -> Result<Source, &'static str> {
    match (file, env, command) {
        (Some(file), None, None) if file.is_absolute() => Ok(Source::File(file)),
        (Some(_), None, None) => Err("`file` must be an absolute path"),
        (None, Some(name), None) if !name.is_empty() => Ok(Source::Env(name)),
        (None, None, Some(command)) => match command.split_first() {
            Some((program, arguments)) if program.starts_with('/') => Ok(Source::Command {
                program: program.clone(),
                arguments: arguments.to_vec(),
            }),
            _ => Err("`command` begins with the absolute path of a program"),
        },
        _ => Err("say exactly one of `file`, `env` and `command`"),
    }
}

fn note<T, E: std::fmt::Display>(
    key: &str,
    result: Result<T, E>,
    mistakes: &mut Vec<Mistake>,
) -> Option<T> {
    result
        .map_err(|error| {
            mistakes.push(Mistake {
                key: key.to_owned(),
                message: error.to_string(),
            });
        })
        .ok()
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    #[serde(default)]
    secrets: BTreeMap<String, RawSecret>,
    #[serde(default)]
    origins: BTreeMap<String, RawOrigin>,
    #[serde(default)]
    cas: BTreeMap<String, PathBuf>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSecret {
    file: Option<PathBuf>,
    env: Option<String>,
    command: Option<Vec<String>>,
    #[serde(default)]
    origins: Vec<String>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOrigin {
    ca: PathBuf,
}
