//! `mandate audit export --tiles`: the log as files that any client of a transparency log reads (C2SP
//! tlog-tiles): `checkpoint`, `tile/<level>/<index>[.p/<width>]`, `tile/entries/<index>[.p/<width>]`.

use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use mandate_audit::{
    NoteKey, TILE_WIDTH, Tile, TileFault, VerifiedCheckpoint, check_tile, tiles_root,
};
use serde_json::json;
use tempfile::NamedTempFile;

use super::super::moment::plural;
use super::{kept, verify};
use crate::client::operator::Operator;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::progress::Progress;

/// Brings the files in `folder` up to the log's latest checkpoint, which is written last: at no moment does
/// it promise a file that is not there. What is there already is not fetched again.
pub(super) async fn run(folder: &Path, key: Option<&str>, context: &Context) -> Outcome {
    let operator = Operator::of(context)?;
    let keys = verify::keys(key, context)?;
    let (note, now) = kept::latest(&operator, &keys).await?;
    let files = Files(folder.to_owned());
    let before = files.checkpoint(&keys)?;
    if let Some(before) = &before {
        kept::goes_on(&operator, before, &now).await?;
    }
    let known = before.as_ref().map_or(0, |before| before.size());
    let new: Vec<Tile> = Tile::all(now.size())
        .filter(|tile| !files.has(tile, known))
        .collect();
    let progress = Progress::begin(&context.out, "exporting the log");
    let all = u64::try_from(new.len()).unwrap_or(u64::MAX);
    for (done, tile) in (0..).zip(&new) {
        let bytes = operator.bytes(&format!("/log/{tile}")).await?;
        files
            .write(&tile.to_string(), &bytes)
            .map_err(|e| files.failed(&e))?;
        progress.at(done, all);
    }
    files.check(&new, &now)?;
    progress.end();
    files
        .write(CHECKPOINT, note.as_bytes())
        .map_err(|e| files.failed(&e))?;
    files.prune(&new).map_err(|e| files.failed(&e))?;
    let result = json!({
        "folder": folder,
        "size": now.size(),
        "before": before.as_ref().map(|before| before.size()),
        "files": all,
    });
    context.out.result(&result, |_| {
        format!(
            "{} in {}, up to its checkpoint of {}",
            plural(all, "new file"),
            folder.display(),
            plural(now.size(), "record")
        )
    });
    Ok(Exit::Ok)
}

/// A folder in the layout of C2SP tlog-tiles.
struct Files(PathBuf);

impl Files {
    /// The checkpoint of an earlier export; `None` in a folder that has none.
    fn checkpoint(&self, keys: &[NoteKey]) -> Result<Option<VerifiedCheckpoint>, Failure> {
        kept::read_if_there(&self.path(CHECKPOINT), keys)
    }

    /// Whether it need not be fetched: it was full in the log of `known` records that the folder holds, which
    /// was checked, and never changes.
    fn has(&self, tile: &Tile, known: u64) -> bool {
        let then = Tile::at(tile.kind(), tile.first() / TILE_WIDTH, known);
        tile.is_full() && then == Some(*tile) && self.path(&tile.to_string()).is_file()
    }

    /// Nothing is handed out that does not hold.
    fn check(&self, new: &[Tile], now: &VerifiedCheckpoint) -> Result<(), Failure> {
        let read = |tile: &Tile| std::fs::read(self.path(&tile.to_string()));
        let root = new
            .iter()
            .try_for_each(|tile| check_tile(tile, now.size(), read))
            .and_then(|()| tiles_root(now.size(), read));
        let why = match root {
            Ok(root) if root == *now.root() => return Ok(()),
            Ok(_) => "the files do not give the root of the checkpoint".to_owned(),
            Err(TileFault::Read(_, error)) => return Err(self.failed(&error)),
            Err(
                fault @ (TileFault::Malformed(_)
                | TileFault::Differs { .. }
                | TileFault::NoSuchTile(_)),
            ) => fault.to_string(),
        };
        Err(Failure::failed(
            why,
            "the log was changed, and `mandate audit verify` says where; or the folder was: export to a new one",
        ))
    }

    /// Removes partial files whose full ones have come (C2SP tlog-tiles allows that).
    fn prune(&self, new: &[Tile]) -> io::Result<()> {
        for tile in new.iter().filter(|tile| tile.is_full()) {
            let partial = self.path(&format!("{tile}.p"));
            if partial.is_dir() {
                std::fs::remove_dir_all(partial)?;
            }
        }
        Ok(())
    }

    /// A file appears whole, on disk, and for its owner alone: records name people.
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(name);
        let folder = path.parent().unwrap_or(&self.0);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let mut file = NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(&path)?;
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::file(&self.0, error)
    }
}

const CHECKPOINT: &str = "checkpoint";
