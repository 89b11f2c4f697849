//! Secrets in memory, renewed beside the traffic.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use mandate_model::{Secret, SecretName};
use mandate_ports::{CredentialError, Credentials, Origin};

use crate::ConfigError;
use crate::config::{Config, Mapped};
use crate::guarded::Stamp;
use crate::source::Source;

/// Looks up an environment variable.
pub type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

/// The secrets and trust of one local configuration file.
///
/// What cannot be read is refused (fail closed); it disturbs no other secret.
pub struct FileCredentials {
    file: PathBuf,
    env: Box<Lookup>,
    held: ArcSwap<Held>,
    /// One renewal at a time. Requests never take it.
    renewal: tokio::sync::Mutex<()>,
}

/// A server workload names an authority that the local configuration does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not mapped; say `cas: {{{0}: /path/to/ca.pem}}` in the local configuration")]
pub struct UnmappedCa(String);

/// An immutable snapshot; swapped whole.
struct Held {
    config: Arc<Config>,
    values: HashMap<SecretName, Value>,
}

#[derive(Clone)]
struct Value {
    stamp: Option<Stamp>,
    /// The value, or why there is none.
    secret: Result<Arc<Secret<Vec<u8>>>, String>,
}

impl FileCredentials {
    /// Reads the configuration and every secret. A mistake in the configuration is an error; a
    /// secret that cannot be read is a [problem](Self::problems).
    pub async fn load(file: &Path, env: Box<Lookup>) -> Result<Self, ConfigError> {
        let config = Arc::new(Config::read(file)?);
        let values = read_all(&config, &*env).await;
        Ok(Self {
            file: file.to_owned(),
            env,
            held: ArcSwap::from_pointee(Held { config, values }),
            renewal: tokio::sync::Mutex::new(()),
        })
    }

    /// [`load`](Self::load) with the variables of this process. For the program's start.
    #[expect(
        clippy::disallowed_methods,
        reason = "the local configuration names the variables, so the command line cannot"
    )]
    pub async fn from_process_environment(file: &Path) -> Result<Self, ConfigError> {
        Self::load(file, Box::new(|name| std::env::var(name).ok())).await
    }

    /// Secrets that are mapped and cannot be read now, and why.
    pub fn problems(&self) -> Vec<(SecretName, String)> {
        let held = self.held.load();
        let problem = |(name, value): (&SecretName, &Value)| {
            let why = value.secret.as_ref().err()?;
            Some((name.clone(), why.clone()))
        };
        held.values.iter().filter_map(problem).collect()
    }

    /// How to speak TLS with `origin`: with the authorities that the configuration names for it and
    /// no others; otherwise with those of `ca`, the name in the server workload, if it has one; and
    /// otherwise with the public ones.
    ///
    /// # Errors
    /// If the configuration has no `ca` of that name, whatever it says of the origin. There is no
    /// falling back on other authorities.
    pub fn tls_config(
        &self,
        origin: &Origin,
        ca: Option<&str>,
    ) -> Result<Arc<rustls::ClientConfig>, UnmappedCa> {
        let held = self.held.load();
        let unmapped = |name: &str| UnmappedCa(name.to_owned());
        let named = ca
            .map(|name| held.config.cas.get(name).ok_or_else(|| unmapped(name)))
            .transpose()?;
        let pinned = held.config.tls.get(origin);
        Ok(pinned.or(named).unwrap_or(&held.config.default_tls).clone())
    }

    /// Reads again what changed or could not be read: the configuration, certificates, secrets. A configuration
    /// with mistakes is logged and the former one stays.
    pub async fn refresh(&self) {
        let _alone = self.renewal.lock().await;
        let held = self.held.load_full();
        let renewed = if changed(&held.config.stamps) {
            self.reload(&held).await
        } else {
            Some(self.reread(&held, Value::is_outdated).await)
        };
        if let Some(renewed) = renewed {
            self.held.store(Arc::new(renewed));
        }
    }

    /// Runs the commands again. Where one fails, its former value stays.
    pub async fn rerun_commands(&self) {
        let _alone = self.renewal.lock().await;
        let held = self.held.load_full();
        let is_command = |_: &Value, source: &Source| matches!(source, Source::Command { .. });
        let renewed = self.reread(&held, is_command).await;
        self.held.store(Arc::new(renewed));
    }

    /// Keeps everything fresh, for ever: files and commands without a value every 2 s, other commands
    /// every 5 min. The program runs it
    /// beside the gateway.
    pub async fn keep_fresh(&self) {
        loop {
            for _ in 0..TICKS_PER_COMMAND {
                tokio::time::sleep(TICK).await;
                self.refresh().await;
            }
            self.rerun_commands().await;
        }
    }

    /// A secret whose source is still the same is renewed as ever: another line of the file is no
    /// reason to withdraw what a command gave.
    async fn reload(&self, held: &Held) -> Option<Held> {
        match Config::read(&self.file) {
            Ok(config) => {
                let config = Arc::new(config);
                let mut values = read_all(&config, &*self.env).await;
                for (name, value) in &mut values {
                    if let Some((source, former)) = held.of_same_source(name, &config) {
                        let read = std::mem::replace(value, former.clone());
                        value.renew(source, read);
                    }
                }
                Some(Held { config, values })
            }
            Err(error) => {
                tracing::error!(%error, "the local configuration is not taken over");
                None
            }
        }
    }

    async fn reread(&self, held: &Held, is_due: impl Fn(&Value, &Source) -> bool) -> Held {
        let mut values = held.values.clone();
        for (name, Mapped { source, .. }) in &held.config.secrets {
            if let Some(value) = values.get_mut(name)
                && is_due(value, source)
            {
                let read = read(name, source, &*self.env).await;
                value.renew(source, read);
            }
        }
        Held {
            config: held.config.clone(),
            values,
        }
    }
}

impl Held {
    /// The source of a secret and its value here, if `config` maps it to the same one.
    fn of_same_source<'c>(
        &self,
        name: &SecretName,
        config: &'c Config,
    ) -> Option<(&'c Source, &Value)> {
        let source = &config.secrets.get(name)?.source;
        let former = &self.config.secrets.get(name)?.source;
        let value = self.values.get(name)?;
        (source == former).then_some((source, value))
    }
}

impl Value {
    fn is_outdated(&self, source: &Source) -> bool {
        match source {
            Source::File(path) => self.secret.is_err() || Stamp::of(path) != self.stamp,
            // Nothing is served of it meanwhile, so there is no reason to wait for the next run.
            Source::Command { .. } => self.secret.is_err(),
            Source::Env(_) => false,
        }
    }

    /// A file that is gone is a secret withdrawn; a command that fails is more likely a network.
    fn renew(&mut self, source: &Source, read: Value) {
        let keep = matches!(source, Source::Command { .. }) && read.secret.is_err();
        if !keep || self.secret.is_err() {
            *self = read;
        }
    }
}

#[async_trait]
impl Credentials for FileCredentials {
    async fn secret(
        &self,
        name: &SecretName,
        origin: &Origin,
    ) -> Result<Arc<Secret<Vec<u8>>>, CredentialError> {
        let held = self.held.load();
        let unmapped = || CredentialError::Unmapped(name.clone());
        let mapped = held.config.secrets.get(name).ok_or_else(unmapped)?;
        if !mapped.origins.contains(origin) {
            return Err(CredentialError::WrongOrigin {
                name: name.clone(),
                origin: origin.clone(),
            });
        }
        match held.values.get(name).map(|value| &value.secret) {
            Some(Ok(secret)) => Ok(secret.clone()),
            Some(Err(_)) | None => Err(CredentialError::Unreadable(name.clone())),
        }
    }
}

impl fmt::Debug for FileCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileCredentials({})", self.file.display())
    }
}

fn changed(stamps: &[(PathBuf, Option<Stamp>)]) -> bool {
    stamps.iter().any(|(path, stamp)| Stamp::of(path) != *stamp)
}

async fn read_all(config: &Config, env: &Lookup) -> HashMap<SecretName, Value> {
    let mut values = HashMap::new();
    for (name, mapped) in &config.secrets {
        values.insert(name.clone(), read(name, &mapped.source, env).await);
    }
    values
}

async fn read(name: &SecretName, source: &Source, env: &Lookup) -> Value {
    match source.read(env).await {
        Ok(read) => Value {
            stamp: read.stamp,
            secret: Ok(Arc::new(read.secret)),
        },
        Err(error) => {
            tracing::warn!(secret = %name, %error, "a secret cannot be read");
            Value {
                stamp: None,
                secret: Err(error),
            }
        }
    }
}

const TICK: Duration = Duration::from_secs(2);
const TICKS_PER_COMMAND: u32 = 150;
