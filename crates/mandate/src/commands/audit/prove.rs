//! `mandate audit prove`: a proof that stands on its own.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mandate_audit::{Checkpoint, Hash, leaf_hash, verify_inclusion};
use serde::Deserialize;

use super::{kept, verify};
use crate::client::operator::Operator;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The proof is RFC 6962's, under the log's latest signed checkpoint (C2SP tlog-checkpoint). It is checked
before it is printed.

Example:
  mandate audit prove 42 --output json")]
pub(crate) struct Args {
    /// The record's index
    index: u64,
    /// The log's verifier key, as a note key [default: the keys in --data]
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

#[derive(Deserialize)]
struct Proof {
    proof: Vec<String>,
}

#[derive(Deserialize)]
struct Page {
    entries: Vec<String>,
}

pub(super) async fn run(args: Args, context: &Context) -> Outcome {
    let operator = Operator::of(context)?;
    let keys = verify::keys(args.key.as_deref(), context)?;
    let (note, checkpoint) = kept::latest(&operator, &keys).await?;
    let (index, size) = (args.index.to_string(), checkpoint.size().to_string());
    let query = [
        ("index", Some(index.as_str())),
        ("size", Some(size.as_str())),
    ];
    if args.index >= checkpoint.size() {
        return Err(Failure::failed(
            format!("record {} is not under a signed checkpoint yet", args.index),
            "checkpoints are signed about once a second: try again",
        ));
    }
    let proof: Proof = operator.get("/log/proof", &query).await?;
    let query = [("first", Some(index.as_str())), ("limit", Some("1"))];
    let page: Page = operator.get("/log/entries", &query).await?;
    let entry = page.entries.first().ok_or_else(|| no_record(args.index))?;
    check(&args, &checkpoint, entry, &proof)?;
    let leaf = STANDARD.encode(leaf_hash(entry.as_bytes()));
    let result = serde_json::json!({
        "index": args.index,
        "entry": entry,
        "leaf": leaf,
        "size": checkpoint.size(),
        "proof": proof.proof,
        "checkpoint": note,
    });
    context.out.result(&result, |paint| {
        format!(
            "{}\n{entry}\n\n{}\nindex {} of {}, leaf {leaf}\n{}\n\n{}\n{note}",
            paint.bold("Record"),
            paint.bold("Proof (RFC 6962 §2.1.1)"),
            args.index,
            checkpoint.size(),
            proof.proof.join("\n"),
            paint.bold("Checkpoint"),
        )
    });
    Ok(Exit::Ok)
}

/// Nothing is handed out that does not hold.
fn check(args: &Args, checkpoint: &Checkpoint, entry: &str, proof: &Proof) -> Result<(), Failure> {
    let broken = || {
        Failure::failed(
            format!("the proof of record {} does not hold", args.index),
            "the log was changed; `mandate audit verify` says where",
        )
    };
    let hash = |text: &String| -> Option<Hash> { STANDARD.decode(text).ok()?.try_into().ok() };
    let hashes: Option<Vec<Hash>> = proof.proof.iter().map(hash).collect();
    let hashes = hashes.ok_or_else(broken)?;
    let leaf = leaf_hash(entry.as_bytes());
    let (size, root) = (checkpoint.size(), checkpoint.root());
    verify_inclusion(&leaf, args.index, size, &hashes, root).map_err(|_| broken())
}

fn no_record(index: u64) -> Failure {
    Failure::failed(
        format!("there is no record {index}"),
        "`mandate audit search` lists what is there",
    )
}
