//! Bundles as they come from operators and from the store, compiled by the one compiler.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mandate_model::Timestamp;
use mandate_policy::{Bundle, LoadEnv, Loaded, Mistake, SourceFile};
use mandate_ports::BundleRecord;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Config;

/// Compiles bundles beside the workers that answer requests: a large one takes seconds.
#[derive(Debug)]
pub(crate) struct Compiler {
    /// What operators hand in is compiled one after the other: however much that is, a core is left
    /// for everybody else.
    one: Arc<Semaphore>,
    /// What is about to be applied, so that it is not compiled again once it is live.
    applied: Mutex<Option<Compiled>>,
}

#[derive(Debug, Clone)]
struct Compiled {
    digest: String,
    at: Timestamp,
    bundle: Arc<Bundle>,
}

/// The compiler ended without an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the compiler of bundles ended without an answer")]
pub(crate) struct NoAnswer;

impl Compiler {
    pub(crate) fn new() -> Self {
        Self {
            one: Arc::new(Semaphore::new(1)),
            applied: Mutex::new(None),
        }
    }

    /// Compiles `files` as they stand at `at`, in turn; every mistake if they do not load.
    pub(crate) async fn load(
        &self,
        files: &[(String, String)],
        config: &Config,
        at: Timestamp,
    ) -> Result<Result<Loaded, Vec<Mistake>>, NoAnswer> {
        let turn = Arc::clone(&self.one).acquire_owned().await;
        aside(files, config, at, Some(turn.map_err(|_| NoAnswer)?)).await
    }

    /// `bundle` is compiled of what `record` says.
    pub(crate) fn is_about_to_apply(&self, record: &BundleRecord, bundle: Bundle) {
        *self.lock() = Some(Compiled {
            digest: record.digest.clone(),
            at: record.at,
            bundle: Arc::new(bundle),
        });
    }

    /// Compiles a bundle as it was applied. What was good then is good now: an `until` that has
    /// passed since ends what it limits, and does not make the bundle unreadable.
    ///
    /// It waits for no operator's turn: a suspension can wait for it.
    pub(crate) async fn applied(
        &self,
        record: &BundleRecord,
        config: &Config,
    ) -> Result<Result<Arc<Bundle>, Vec<Mistake>>, NoAnswer> {
        let is_it = |c: &Compiled| c.digest == record.digest && c.at == record.at;
        let known = self.lock().clone().filter(is_it);
        if let Some(compiled) = known {
            return Ok(Ok(compiled.bundle));
        }
        let loaded = aside(&record.files, config, record.at, None).await?;
        Ok(loaded.map(|loaded| Arc::new(loaded.bundle)))
    }

    /// Short and without await.
    fn lock(&self) -> MutexGuard<'_, Option<Compiled>> {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn aside(
    files: &[(String, String)],
    config: &Config,
    at: Timestamp,
    turn: Option<OwnedSemaphorePermit>,
) -> Result<Result<Loaded, Vec<Mistake>>, NoAnswer> {
    let env = LoadEnv {
        trust_domain: config.trust_domain.clone(),
        issuer: config.issuer.as_str().to_owned(),
    };
    let sources = sources(files);
    let compiling = tokio::task::spawn_blocking(move || {
        // Compiling goes on when whoever asked goes away, and so does the turn.
        let _turn = turn;
        mandate_policy::load(&sources, &env, at)
    });
    compiling.await.map_err(|_| NoAnswer)
}

/// The files' digest.
pub(crate) fn digest(files: &[(String, String)]) -> String {
    mandate_policy::digest(&sources(files))
}

/// The first mistake, for a line of text.
pub(crate) fn first_of(mistakes: &[Mistake]) -> String {
    mistakes
        .first()
        .map_or_else(|| "it does not load".to_owned(), ToString::to_string)
}

fn sources(files: &[(String, String)]) -> Vec<SourceFile> {
    let source = |(name, text): &(String, String)| SourceFile {
        name: name.clone(),
        text: text.clone(),
    };
    files.iter().map(source).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mandate_model::Principal;

    use super::*;

    const AT: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn record(at: Timestamp) -> BundleRecord {
        BundleRecord {
            files: Vec::new(),
            digest: digest(&[]),
            operator: Principal::parse("operator:amy").unwrap(),
            at,
        }
    }

    #[tokio::test]
    async fn others_are_answered_while_a_bundle_is_compiled() {
        let (compiler, config) = (Compiler::new(), Config::of_tests());
        let order = Mutex::new(Vec::new());
        let say = |what: &'static str| order.lock().unwrap().push(what);
        // On one worker: what is polled second runs only if the first does not keep it.
        tokio::join!(
            async {
                let loaded = compiler.load(&[], &config, AT).await;
                assert!(loaded.unwrap().is_ok());
                say("compiled");
            },
            async { say("answered") },
        );
        assert_eq!(order.into_inner().unwrap(), ["answered", "compiled"]);
    }

    #[tokio::test]
    async fn what_was_compiled_to_be_applied_is_not_compiled_again() {
        let (compiler, config) = (Compiler::new(), Config::of_tests());
        let loaded = compiler.load(&[], &config, AT).await.unwrap().unwrap();
        compiler.is_about_to_apply(&record(AT), loaded.bundle);
        let live = async |at| compiler.applied(&record(at), &config).await;
        let (first, second) = (live(AT).await, live(AT).await);
        let (first, second) = (first.unwrap().unwrap(), second.unwrap().unwrap());
        assert!(Arc::ptr_eq(&first, &second));
        let other = live(AT.plus(Duration::from_secs(1))).await;
        assert!(!Arc::ptr_eq(&first, &other.unwrap().unwrap()));
    }
}
