//! Checkpoints: the log's latest, one that was kept elsewhere, and whether the one goes on from the other.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mandate_audit::{
    Checkpoint, Hash, NoteKey, ProofInvalid, VerifiedCheckpoint, verify_consistency,
};
use serde::Deserialize;

use super::super::moment::plural;
use crate::client::operator::Operator;
use crate::failure::Failure;

/// The log's latest checkpoint, with the note that it was signed in.
pub(super) async fn latest(
    operator: &Operator,
    keys: &[NoteKey],
) -> Result<(String, VerifiedCheckpoint), Failure> {
    let note = operator.text("/log/checkpoint").await?;
    let checkpoint = signed(&note, keys).ok_or_else(|| {
        Failure::failed(
            "none of the log's keys signed its latest checkpoint",
            "`mandate audit verify` says more; --key says the log's verifier key",
        )
    })?;
    Ok((note, checkpoint))
}

/// The checkpoint that was kept in `file`, if this log's keys signed it. Any other proves nothing.
pub(super) fn read(file: &Path, keys: &[NoteKey]) -> Result<VerifiedCheckpoint, Failure> {
    let note = std::fs::read_to_string(file).map_err(|e| Failure::file(file, &e))?;
    signed(&note, keys).ok_or_else(|| unsigned(file, &note, keys))
}

/// The same, where nothing may be kept there yet.
pub(super) fn read_if_there(
    file: &Path,
    keys: &[NoteKey],
) -> Result<Option<VerifiedCheckpoint>, Failure> {
    let there = file.try_exists().map_err(|e| Failure::file(file, &e))?;
    there.then(|| read(file, keys)).transpose()
}

fn signed(note: &str, keys: &[NoteKey]) -> Option<VerifiedCheckpoint> {
    keys.iter().find_map(|key| Checkpoint::open(note, key).ok())
}

fn unsigned(file: &Path, note: &str, keys: &[NoteKey]) -> Failure {
    let file = file.display();
    let Ok(said) = Checkpoint::dangerous_unverified(note) else {
        return Failure::failed(
            format!("{file} holds no checkpoint"),
            "say a file that `mandate audit checkpoint` wrote",
        );
    };
    let names: Vec<&str> = keys.iter().map(NoteKey::name).collect();
    if !names.contains(&said.origin()) {
        return Failure::failed(
            format!(
                "{file} is a checkpoint of log `{}`, not of `{}`",
                said.origin(),
                names.first().copied().unwrap_or("none")
            ),
            "say the file that was kept of this log, or the --data of that one",
        );
    }
    Failure::failed(
        format!("{file} is no checkpoint that this log's keys signed"),
        "if it was kept from this log, the log or its keys were replaced",
    )
}

#[derive(Deserialize)]
struct Proof {
    proof: Vec<String>,
}

/// That the log as it is `now` begins with what was `kept` of it (RFC 6962 §2.1.2). Whoever kept only the
/// checkpoint can tell so without the records.
pub(super) async fn goes_on(
    operator: &Operator,
    kept: &VerifiedCheckpoint,
    now: &VerifiedCheckpoint,
) -> Result<(), Failure> {
    if kept.size() > now.size() {
        return Err(rolled_back(kept.size(), now.size()));
    }
    let (old, size) = (kept.size().to_string(), now.size().to_string());
    let query = [("old", Some(old.as_str())), ("size", Some(size.as_str()))];
    let proof: Proof = operator.get("/log/consistency", &query).await?;
    proven(kept, now, &proof.proof).map_err(|_| forked(kept.size()))
}

fn proven(kept: &Checkpoint, now: &Checkpoint, proof: &[String]) -> Result<(), ProofInvalid> {
    let hash = |text: &String| -> Option<Hash> { STANDARD.decode(text).ok()?.try_into().ok() };
    let hashes: Option<Vec<Hash>> = proof.iter().map(hash).collect();
    verify_consistency(
        (kept.size(), kept.root()),
        (now.size(), now.root()),
        &hashes.ok_or(ProofInvalid)?,
    )
}

fn rolled_back(kept: u64, now: u64) -> Failure {
    Failure::failed(
        format!(
            "the log was rolled back: it has {} under a checkpoint, and had {kept} when the other was kept",
            plural(now, "record")
        ),
        "keep both checkpoints; a restored backup does this too, and then its operator knows",
    )
}

fn forked(kept: u64) -> Failure {
    Failure::failed(
        format!(
            "the log was forked: its first {} are not those of the checkpoint that was kept",
            plural(kept, "record")
        ),
        "keep both checkpoints: signed by one log, they prove it; `mandate audit verify --since` says where it departs",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(size: u64, root: u8) -> Checkpoint {
        Checkpoint::new("acme.example/log", size, [root; 32]).unwrap()
    }

    #[test]
    fn a_log_goes_on_only_from_what_a_proof_leads_to() {
        assert!(proven(&checkpoint(7, 1), &checkpoint(7, 1), &[]).is_ok());
        assert!(proven(&checkpoint(7, 1), &checkpoint(7, 2), &[]).is_err());
        assert!(proven(&checkpoint(7, 1), &checkpoint(9, 2), &[]).is_err());
        let torn = ["AAAA".to_owned()];
        assert!(proven(&checkpoint(7, 1), &checkpoint(9, 2), &torn).is_err());
    }

    #[test]
    fn what_is_no_checkpoint_of_this_log_says_why() {
        let key = NoteKey::new("acme.example/log", [7; 32]).unwrap();
        let broke =
            |note: &str| unsigned(Path::new("kept"), note, std::slice::from_ref(&key)).broke;
        assert_eq!(broke("nonsense"), "kept holds no checkpoint");
        let note = |origin: &str| {
            let root = STANDARD.encode([1; 32]);
            let signature = STANDARD.encode([1; 68]);
            format!("{origin}\n7\n{root}\n\n— {origin} {signature}\n")
        };
        assert_eq!(
            broke(&note("other.example/log")),
            "kept is a checkpoint of log `other.example/log`, not of `acme.example/log`"
        );
        let said = broke(&note("acme.example/log"));
        assert!(said.contains("this log's keys signed"), "{said}");
    }
}
