//! Signed checkpoints of the committed log (C2SP tlog-checkpoint, C8).

use std::time::Duration;

use mandate_audit::{Checkpoint, NoteKey};
use mandate_model::TrustDomain;
use mandate_ports::{CheckpointRefusal, KeyPurpose};
use tokio_util::sync::CancellationToken;

use crate::Authority;

/// The log's name in its checkpoints, and the name of the key that signs them.
pub fn log_origin(domain: &TrustDomain) -> String {
    format!("{domain}/mandate/log")
}

/// Signs a checkpoint whenever something was committed, at most one a second, and a last one at
/// the end.
pub(crate) async fn keep(authority: Authority, stop: CancellationToken) {
    loop {
        let stopped = tokio::select! {
            biased;
            () = stop.cancelled() => true,
            () = authority.uncovered().notified() => false,
        };
        if let Err(why) = sign(&authority).await {
            tracing::error!(%why, "no checkpoint could be signed");
            // Nothing may be committed for long: what is uncovered stays so until this works.
            authority.uncovered().notify_one();
        }
        if stopped {
            return;
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = tokio::time::sleep(PACE) => {}
        }
    }
}

/// Signs the committed head, if no checkpoint says it yet.
pub(crate) async fn sign(
    authority: &Authority,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let ports = authority.ports();
    let head = ports.log.head().await?;
    if head.size == 0 || covered(authority, head.size).await? {
        return Ok(());
    }
    let origin = log_origin(&authority.config().trust_domain);
    let checkpoint = Checkpoint::new(&origin, head.size, head.root)?;
    let key = ports.signer.current(KeyPurpose::Log)?;
    if authority.world().is_suspended(&key) {
        return Err("the log's key is suspended, and another one will take its place".into());
    }
    let public = authority
        .world()
        .keys
        .all
        .iter()
        .find(|k| k.id == key)
        .map(|k| k.public.clone());
    let public: [u8; 32] = public
        .unwrap_or_default()
        .try_into()
        .map_err(|_| "the log's key is not published")?;
    let signed = ports.signer.sign(&key, checkpoint.text().as_bytes())?;
    let note = checkpoint.sign(&NoteKey::new(&origin, public)?, &signed.signature)?;
    match ports.checkpoints.keep_checkpoint(note).await {
        // Somebody was quicker with a later one.
        Ok(()) | Err(CheckpointRefusal::Taken { .. }) => Ok(()),
        Err(why) => Err(why.into()),
    }
}

async fn covered(
    authority: &Authority,
    size: u64,
) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let Some(note) = authority.ports().log.checkpoint().await? else {
        return Ok(false);
    };
    Ok(Checkpoint::dangerous_unverified(&note).is_ok_and(|latest| latest.size() >= size))
}

const PACE: Duration = Duration::from_secs(1);
