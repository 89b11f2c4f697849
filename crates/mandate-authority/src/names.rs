//! Names of the machine's users, without waiting for a user database that is far away.

use std::sync::Arc;
use std::time::Duration;

use mandate_ports::Users;
use moka::sync::Cache;
use tokio::sync::Semaphore;

/// Names of users, remembered for a while.
#[derive(Debug)]
pub(crate) struct Names {
    known: Cache<u32, Option<String>>,
    /// A look-up that hangs holds a thread: it takes no more than these.
    looking: Arc<Semaphore>,
}

impl Names {
    pub(crate) fn new() -> Self {
        Self {
            known: Cache::builder()
                .max_capacity(1024)
                .time_to_live(KEPT)
                .build(),
            looking: Arc::new(Semaphore::new(LOOKUPS)),
        }
    }

    /// What was found out about `uid` lately: that it has this name, or that it has none.
    pub(crate) fn known(&self, uid: u32) -> Option<Option<String>> {
        self.known.get(&uid)
    }

    /// The name of `uid`. Where the database does not answer in time there is none: operators that
    /// are declared by number need no name.
    pub(crate) async fn of(&self, uid: u32, users: Arc<dyn Users>) -> Option<String> {
        if let Some(known) = self.known(uid) {
            return known;
        }
        match tokio::time::timeout(PATIENCE, self.look_up(uid, users)).await {
            Ok(found) => found,
            Err(_) => {
                tracing::warn!(uid, "the machine's user database does not answer");
                None
            }
        }
    }

    async fn look_up(&self, uid: u32, users: Arc<dyn Users>) -> Option<String> {
        let permit = Arc::clone(&self.looking).acquire_owned().await.ok()?;
        let look = tokio::task::spawn_blocking(move || {
            let found = users.name(uid);
            drop(permit);
            found
        });
        let name = look.await.ok()?.ok()?;
        self.known.insert(uid, name.clone());
        name
    }
}

const KEPT: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(1);
const LOOKUPS: usize = 8;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    struct Far(std::sync::Mutex<Receiver<()>>);

    impl Users for Far {
        fn name(&self, _: u32) -> std::io::Result<Option<String>> {
            let _ = self.0.lock().unwrap().recv();
            Ok(Some("root".to_owned()))
        }
    }

    #[tokio::test]
    async fn a_user_database_that_hangs_is_not_waited_for() {
        let (answer, far) = channel();
        let (names, far) = (Names::new(), Arc::new(Far(std::sync::Mutex::new(far))));
        assert_eq!(names.of(0, far.clone()).await, None);
        drop(answer);
        assert_eq!(names.of(0, far).await.as_deref(), Some("root"));
        assert_eq!(names.known(0), Some(Some("root".to_owned())));
    }
}
