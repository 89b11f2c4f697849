//! The log as files that anybody can fetch and cache (C2SP tlog-tiles).

use std::fmt;

use crate::NodeId;

/// Hashes per full tile, and entries per full bundle.
pub const TILE_WIDTH: u64 = 256;

/// A file of the log: a tile of hashes or a bundle of entries, full or partial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    kind: TileKind,
    index: u64,
    width: u16,
}

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TileKind {
    /// Hashes of tree level `8 · level`; `level` is at most 7.
    Hashes {
        /// The tile level.
        level: u8,
    },
    /// Entries, each with its length in two bytes before it.
    Entries,
}

/// A path that names no tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a tile's path is `tile/<level or entries>/<index>[.p/<width>]`, as in C2SP tlog-tiles")]
pub struct MalformedTilePath;

/// Bytes that are no entry bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an entry bundle is a row of entries, each with its length in two bytes before it")]
pub struct MalformedBundle;

/// An entry that does not fit a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an entry of a bundle has at most 65535 bytes")]
pub struct EntryTooLong;

impl Tile {
    /// The tile number `index` of `kind` as it is when the log has `size` records; `None` if it is
    /// still empty, or of a level that no log reaches.
    pub fn at(kind: TileKind, index: u64, size: u64) -> Option<Self> {
        let shift = kind.tree_level()?;
        let width = (size >> shift)
            .saturating_sub(index.checked_mul(TILE_WIDTH)?)
            .min(TILE_WIDTH);
        let width = u16::try_from(width).ok().filter(|width| *width > 0)?;
        Some(Self { kind, index, width })
    }

    /// The tile of a log with `size` records whose hashes give node `id`, and which of them: the tree
    /// over those is the node. `None` if the node is not complete at that size.
    pub fn of_node(id: NodeId, size: u64) -> Option<(Self, std::ops::Range<usize>)> {
        let kind = TileKind::Hashes {
            level: id.level / 8,
        };
        let hashes = 1_u64 << (id.level % 8);
        let first = id.index.checked_mul(hashes)?;
        let tile = Self::at(kind, first / TILE_WIDTH, size)?;
        let within = usize::try_from(first % TILE_WIDTH).ok()?;
        let end = within + usize::try_from(hashes).ok()?;
        (end <= usize::from(tile.width)).then_some((tile, within..end))
    }

    /// Every tile of a log with `size` records, partial ones included, the lowest level first.
    pub fn all(size: u64) -> impl Iterator<Item = Tile> {
        let kinds = (0..=MAX_TILE_LEVEL).map(|level| TileKind::Hashes { level });
        std::iter::once(TileKind::Entries)
            .chain(kinds)
            .flat_map(move |kind| (0..).map_while(move |index| Tile::at(kind, index, size)))
    }

    /// Reads a path such as `tile/0/x001/067.p/3`.
    pub fn parse(path: &str) -> Result<Self, MalformedTilePath> {
        let (level, rest) = path
            .strip_prefix("tile/")
            .and_then(|rest| rest.split_once('/'))
            .ok_or(MalformedTilePath)?;
        let (index, width) = match rest.split_once(".p/") {
            Some((index, width)) => (index, partial_width(width)?),
            None => (
                rest,
                u16::try_from(TILE_WIDTH).map_err(|_| MalformedTilePath)?,
            ),
        };
        let kind = TileKind::parse(level).ok_or(MalformedTilePath)?;
        let index = parse_index(index).ok_or(MalformedTilePath)?;
        let tile = Self { kind, index, width };
        // One path per tile: whatever else reads as the same tile is refused.
        (tile.to_string() == path)
            .then_some(tile)
            .ok_or(MalformedTilePath)
    }

    /// What it holds.
    pub fn kind(&self) -> TileKind {
        self.kind
    }

    /// Whether it will never change.
    pub fn is_full(&self) -> bool {
        u64::from(self.width) == TILE_WIDTH
    }

    /// How many hashes or entries: 1 to 256.
    pub fn width(&self) -> u16 {
        self.width
    }

    /// The index of its first hash within its tree level, or of its first entry.
    pub fn first(&self) -> u64 {
        self.index.saturating_mul(TILE_WIDTH)
    }

    /// The nodes whose hashes, one after the other, are the tile's bytes; for a bundle, the leaves.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        let level = self.kind.tree_level().unwrap_or(0);
        let first = self.first();
        (first..first.saturating_add(u64::from(self.width)))
            .map(move |index| NodeId { level, index })
    }
}

impl TileKind {
    fn tree_level(self) -> Option<u8> {
        match self {
            TileKind::Entries => Some(0),
            TileKind::Hashes { level } => (level <= MAX_TILE_LEVEL).then_some(level * 8),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        if text == "entries" {
            return Some(TileKind::Entries);
        }
        let level = text.parse().ok().filter(|level| *level <= MAX_TILE_LEVEL)?;
        Some(TileKind::Hashes { level })
    }
}

impl fmt::Display for Tile {
    /// Its path, without a slash in front.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Entries => f.write_str("tile/entries")?,
            TileKind::Hashes { level } => write!(f, "tile/{level}")?,
        }
        let mut groups = vec![format!("{:03}", self.index % 1000)];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(format!("x{:03}", rest % 1000));
            rest /= 1000;
        }
        groups
            .iter()
            .rev()
            .try_for_each(|group| write!(f, "/{group}"))?;
        if !self.is_full() {
            write!(f, ".p/{}", self.width)?;
        }
        Ok(())
    }
}

fn parse_index(text: &str) -> Option<u64> {
    text.split('/').try_fold(0_u64, |index, group| {
        let digits = group.strip_prefix('x').unwrap_or(group);
        index.checked_mul(1000)?.checked_add(digits.parse().ok()?)
    })
}

fn partial_width(text: &str) -> Result<u16, MalformedTilePath> {
    text.parse()
        .ok()
        .filter(|width| (1..TILE_WIDTH).contains(&u64::from(*width)))
        .ok_or(MalformedTilePath)
}

/// The bytes of an entry bundle.
pub fn entry_bundle<'a>(
    entries: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<u8>, EntryTooLong> {
    let mut bundle = Vec::new();
    for entry in entries {
        let length = u16::try_from(entry.len()).map_err(|_| EntryTooLong)?;
        bundle.extend_from_slice(&length.to_be_bytes());
        bundle.extend_from_slice(entry);
    }
    Ok(bundle)
}

/// The entries of a bundle.
pub fn parse_entry_bundle(mut bundle: &[u8]) -> Result<Vec<&[u8]>, MalformedBundle> {
    let mut entries = Vec::new();
    while !bundle.is_empty() {
        let (length, rest) = bundle.split_first_chunk::<2>().ok_or(MalformedBundle)?;
        let (entry, rest) = rest
            .split_at_checked(usize::from(u16::from_be_bytes(*length)))
            .ok_or(MalformedBundle)?;
        entries.push(entry);
        bundle = rest;
    }
    Ok(entries)
}

/// The last level with a hash that fewer than 2^64 records complete.
const MAX_TILE_LEVEL: u8 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        let size = 1_234_068 * 256 + 70;
        let level = |level| TileKind::Hashes { level };
        let path = |kind, index| Tile::at(kind, index, size).unwrap().to_string();
        assert_eq!(path(level(0), 1_234_067), "tile/0/x001/x234/067");
        assert_eq!(path(level(0), 1_234_068), "tile/0/x001/x234/068.p/70");
        assert_eq!(path(level(1), 0), "tile/1/000");
        assert_eq!(path(TileKind::Entries, 999), "tile/entries/999");
        assert_eq!(Tile::at(level(0), 1_234_069, size), None);
        assert_eq!(Tile::at(level(8), 0, u64::MAX), None);
    }

    #[test]
    fn a_path_reads_back_and_nothing_else_reads_as_one() {
        for path in [
            "tile/0/x001/067.p/3",
            "tile/entries/000",
            "tile/5/x009/x999/999",
        ] {
            assert_eq!(Tile::parse(path).unwrap().to_string(), path);
        }
        for bad in [
            "",
            "tile/0",
            "tile/0/67",
            "tile/0/x001/67",
            "tile/8/000",
            "tile/00/000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/03",
            "tile/0/x000/001",
            "tile/0/001/000",
            "/tile/0/000",
            "tile/0/+01",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
            "tile/0/../000",
        ] {
            assert!(Tile::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn all_tiles_of_a_log_cover_each_complete_node_once() {
        let size = 256 * 256 + 256 + 5;
        let paths: Vec<_> = Tile::all(size)
            .filter(|t| t.kind() != TileKind::Entries)
            .collect();
        let leaves: usize = paths
            .iter()
            .filter(|t| t.kind() == TileKind::Hashes { level: 0 })
            .map(|t| t.nodes().count())
            .sum();
        assert_eq!(leaves as u64, size);
        assert!(paths.iter().any(|t| t.to_string() == "tile/1/001.p/1"));
        assert!(paths.iter().any(|t| t.to_string() == "tile/2/000.p/1"));
        assert_eq!(Tile::all(0).count(), 0);
    }

    #[test]
    fn every_node_of_a_tree_is_found_in_a_tile_and_none_that_is_not_complete() {
        let size = 2 * 65_536 + 3 * 256 + 5;
        let found = |level, index| {
            let (tile, range) = Tile::of_node(NodeId { level, index }, size)?;
            Some((tile.to_string(), range))
        };
        let some = |path: &str, range| Some((path.to_owned(), range));
        assert_eq!(found(0, 300), some("tile/0/001", 44..45));
        assert_eq!(found(3, 32), some("tile/0/001", 0..8));
        assert_eq!(found(8, 514), some("tile/1/002.p/3", 2..3));
        assert_eq!(found(9, 257), None, "its second half is not complete");
        assert_eq!(found(15, 3), some("tile/1/001", 128..256));
        assert_eq!(found(17, 0), some("tile/2/000.p/2", 0..2));
        assert_eq!(found(16, 2), None);
        assert_eq!(found(63, u64::MAX), None);
        // The right edge of the log, which gives its root.
        for id in crate::ProofPlan::root(size).nodes() {
            assert!(Tile::of_node(id, size).is_some(), "{id:?}");
        }
    }

    #[test]
    fn a_bundle_gives_its_entries_back_and_a_torn_one_nothing() {
        let entries: [&[u8]; 3] = [b"a", b"", &[7; 65_535]];
        let bundle = entry_bundle(entries).unwrap();
        assert_eq!(bundle.get(..3), Some(&[0, 1, b'a'][..]));
        assert_eq!(parse_entry_bundle(&bundle).unwrap(), entries);
        assert_eq!(
            parse_entry_bundle(&bundle[..bundle.len() - 1]),
            Err(MalformedBundle)
        );
        assert_eq!(parse_entry_bundle(&[0]), Err(MalformedBundle));
        assert_eq!(entry_bundle([&[0; 65_536][..]]), Err(EntryTooLong));
    }
}
