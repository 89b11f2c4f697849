//! Checking the files of a log against each other, up to its root: what a copy of them is worth.

use crate::{
    BuildError, Hash, NodeId, TILE_WIDTH, Tile, TileKind, Tree, leaf_hash, parse_entry_bundle,
};

/// Why files do not make a log. `E` is why one could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TileFault<E> {
    /// It could not be read.
    #[error("`{0}`: {1}")]
    Read(Tile, E),
    /// It does not hold as many hashes or entries as its path says.
    #[error("`{0}` does not hold what its path says")]
    Malformed(Tile),
    /// What it holds is not what the tile above or beside it was made from.
    #[error("`{tile}` does not fit `{other}`: number {index} of it differs")]
    Differs {
        /// The file.
        tile: Tile,
        /// The one that it was compared with.
        other: Tile,
        /// Counts within `tile`, from 0.
        index: usize,
    },
    /// A log of this size has no such file, or too few.
    #[error("the log of {0} records has no such tile")]
    NoSuchTile(u64),
}

/// Checks one file of a log of `size` records: entries against their hashes, and hashes against the
/// tiles that they stand for. `read` gets the bytes of a file.
///
/// Every file checked so, and the root by [`tiles_root`], are one tree.
pub fn check_tile<E>(
    tile: &Tile,
    size: u64,
    mut read: impl FnMut(&Tile) -> Result<Vec<u8>, E>,
) -> Result<(), TileFault<E>> {
    match tile.kind() {
        TileKind::Entries => {
            let level = TileKind::Hashes { level: 0 };
            let other = at(level, tile.first() / TILE_WIDTH, size)?;
            let bytes = read(tile).map_err(|e| TileFault::Read(*tile, e))?;
            let entries = parse_entry_bundle(&bytes).map_err(|_| TileFault::Malformed(*tile))?;
            let found: Vec<Hash> = entries.into_iter().map(leaf_hash).collect();
            compare(tile, &found, &other, &hashes(&other, &mut read)?)
        }
        TileKind::Hashes { level: 0 } => hashes(tile, &mut read).map(|_| ()),
        TileKind::Hashes { level } => {
            let below = TileKind::Hashes { level: level - 1 };
            for (index, (node, hash)) in tile.nodes().zip(hashes(tile, &mut read)?).enumerate() {
                let other = at(below, node.index, size)?;
                if root_over(&hashes(&other, &mut read)?) != hash {
                    let tile = *tile;
                    return Err(TileFault::Differs { tile, other, index });
                }
            }
            Ok(())
        }
    }
}

/// The root of the log of `size` records, as its tiles of hashes give it.
pub fn tiles_root<E>(
    size: u64,
    mut read: impl FnMut(&Tile) -> Result<Vec<u8>, E>,
) -> Result<Hash, TileFault<E>> {
    let node = |id: NodeId| {
        let (tile, range) = Tile::of_node(id, size).ok_or(TileFault::NoSuchTile(size))?;
        let hashes = hashes(&tile, &mut read)?;
        let range = hashes.get(range).ok_or(TileFault::Malformed(tile))?;
        Ok(Some(root_over(range)))
    };
    match Tree::load(size, node) {
        Ok(tree) => Ok(tree.root()),
        Err(BuildError::Read(fault)) => Err(fault),
        Err(BuildError::Missing(_)) => Err(TileFault::NoSuchTile(size)),
    }
}

fn at<E>(kind: TileKind, index: u64, size: u64) -> Result<Tile, TileFault<E>> {
    Tile::at(kind, index, size).ok_or(TileFault::NoSuchTile(size))
}

fn hashes<E>(
    tile: &Tile,
    read: &mut impl FnMut(&Tile) -> Result<Vec<u8>, E>,
) -> Result<Vec<Hash>, TileFault<E>> {
    let bytes = read(tile).map_err(|e| TileFault::Read(*tile, e))?;
    let (hashes, rest) = bytes.as_chunks::<32>();
    if hashes.len() != usize::from(tile.width()) || !rest.is_empty() {
        return Err(TileFault::Malformed(*tile));
    }
    Ok(hashes.to_vec())
}

fn compare<E>(
    tile: &Tile,
    found: &[Hash],
    other: &Tile,
    expected: &[Hash],
) -> Result<(), TileFault<E>> {
    if found.len() != expected.len() {
        return Err(TileFault::Malformed(*tile));
    }
    match found.iter().zip(expected).position(|(a, b)| a != b) {
        Some(index) => Err(TileFault::Differs {
            tile: *tile,
            other: *other,
            index,
        }),
        None => Ok(()),
    }
}

/// The root over hashes that are nodes of one level, not entries.
fn root_over(hashes: &[Hash]) -> Hash {
    let mut tree = Tree::new();
    hashes.iter().for_each(|hash| tree.append(*hash, |_, _| {}));
    tree.root()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::entry_bundle;

    struct Log {
        files: HashMap<Tile, Vec<u8>>,
        root: Hash,
        size: u64,
    }

    fn log(size: u64) -> Log {
        let entry = |n: u64| format!("record {n}").into_bytes();
        let (mut tree, mut nodes) = (Tree::new(), HashMap::new());
        for n in 0..size {
            tree.append(leaf_hash(&entry(n)), |id, hash| {
                nodes.insert(id, hash);
            });
        }
        let bytes = |tile: &Tile| match tile.kind() {
            TileKind::Entries => {
                let entries: Vec<_> = tile.nodes().map(|id| entry(id.index)).collect();
                entry_bundle(entries.iter().map(Vec::as_slice)).unwrap()
            }
            TileKind::Hashes { .. } => tile.nodes().flat_map(|id| nodes[&id]).collect(),
        };
        Log {
            files: Tile::all(size).map(|tile| (tile, bytes(&tile))).collect(),
            root: tree.root(),
            size,
        }
    }

    impl Log {
        fn read(&self, tile: &Tile) -> Result<Vec<u8>, &'static str> {
            self.files.get(tile).cloned().ok_or("not there")
        }

        /// The first fault in the order in which files are listed, the root last.
        fn check(&self) -> Result<bool, TileFault<&'static str>> {
            for tile in Tile::all(self.size) {
                check_tile(&tile, self.size, |tile| self.read(tile))?;
            }
            Ok(tiles_root(self.size, |tile| self.read(tile))? == self.root)
        }
    }

    fn tile(path: &str) -> Tile {
        Tile::parse(path).unwrap()
    }

    #[test]
    fn the_files_of_a_log_are_one_tree_with_its_root() {
        for size in [0, 1, 2, 255, 256, 257, 300, 65_536, 66_000] {
            assert_eq!(log(size).check(), Ok(true), "{size}");
        }
    }

    #[test]
    fn a_changed_byte_in_any_file_is_found() {
        let whole = log(600);
        for path in whole.files.keys() {
            let mut log = log(600);
            let bytes = log.files.get_mut(path).unwrap();
            let at = bytes.len() - 1;
            bytes[at] ^= 1;
            assert_ne!(log.check(), Ok(true), "{path}");
        }
        let mut log = log(600);
        log.files.get_mut(&tile("tile/entries/001")).unwrap()[5] ^= 1;
        let differs = TileFault::Differs {
            tile: tile("tile/entries/001"),
            other: tile("tile/0/001"),
            index: 0,
        };
        assert_eq!(log.check(), Err(differs));
    }

    #[test]
    fn a_file_that_is_cut_off_or_gone_is_found() {
        let whole = log(600);
        for path in whole.files.keys() {
            let mut log = log(600);
            log.files.get_mut(path).unwrap().pop();
            assert_eq!(log.check(), Err(TileFault::Malformed(*path)), "{path}");
            log.files.remove(path);
            assert_eq!(log.check(), Err(TileFault::Read(*path, "not there")));
        }
    }
}
