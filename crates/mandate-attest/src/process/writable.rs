//! Whether a user could change an executable.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Who might write.
#[derive(Debug, Clone, Copy)]
pub(super) struct Writer<'a> {
    pub(super) uid: u32,
    pub(super) groups: &'a [u32],
}

impl Writer<'_> {
    /// The first place by which this user could change the file at `path` or put another in its
    /// stead: the file or a folder above it. `None` if there is none. What cannot be looked at
    /// counts as writable.
    pub(super) fn way_in(&self, path: &Path) -> Option<String> {
        if self.uid == 0 {
            return Some("root can write everything".to_owned());
        }
        let mut entry = path;
        let mut can_write = self.can_write(entry);
        while !can_write {
            entry = entry.parent()?;
            can_write = self.can_replace_in(entry);
        }
        Some(format!(
            "`{}` can be written by user {}",
            entry.display(),
            self.uid
        ))
    }

    fn can_write(&self, path: &Path) -> bool {
        std::fs::symlink_metadata(path).map_or(true, |meta| self.owns_or_may(path, &meta))
    }

    /// In a folder with the sticky bit, only owners replace files, and that the entry below is not
    /// this user's was checked before.
    fn can_replace_in(&self, folder: &Path) -> bool {
        std::fs::symlink_metadata(folder).map_or(true, |meta| {
            let sticky = meta.mode() & 0o1000 != 0;
            meta.uid() == self.uid || (!sticky && self.owns_or_may(folder, &meta))
        })
    }

    /// An owner may always give himself the right. A link has no rights of its own; who can put
    /// another in its stead is asked of its folder. Where an access list exists, the group bits are
    /// its mask: if anyone named in it may write, this user might be.
    fn owns_or_may(&self, path: &Path, meta: &Metadata) -> bool {
        // Of a link, the mode says nothing (symlink(7)).
        let mode = if meta.is_symlink() { 0 } else { meta.mode() };
        let by_group = mode & 0o020 != 0;
        meta.uid() == self.uid
            || mode & 0o002 != 0
            || (by_group && (self.groups.contains(&meta.gid()) || has_access_list(path)))
    }
}

fn has_access_list(path: &Path) -> bool {
    use rustix::io::Errno;
    !matches!(
        rustix::fs::lgetxattr(path, "system.posix_acl_access", &mut [0_u8; 0][..]),
        Err(Errno::NODATA | Errno::OPNOTSUPP)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, chown};

    fn set(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn owners_groups_others_and_folders_are_ways_in() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("agent");
        std::fs::write(&file, "").unwrap();
        let meta = std::fs::metadata(&file).unwrap();
        let open = |writer: Writer<'_>| writer.way_in(&file).is_some();
        let writer = |uid, groups| Writer { uid, groups };
        // Somebody else than whoever runs this test; with and without its group.
        let other = meta.uid() + 4001;
        let (theirs, ours) = ([meta.gid() + 4002], [meta.gid()]);
        let (stranger, colleague) = (writer(other, &theirs), writer(other, &ours));
        set(folder.path(), 0o755);

        set(&file, 0o755);
        assert!(!open(stranger) && !open(colleague));
        assert!(open(writer(0, &[])), "root");
        set(&file, 0o555);
        let owner = writer(meta.uid(), &theirs);
        assert!(open(owner), "the owner, whatever the mode");
        set(&file, 0o775);
        assert!(open(colleague), "the group");
        assert!(!open(stranger), "another group");
        set(&file, 0o757);
        assert!(open(stranger), "everyone");

        set(&file, 0o755);
        set(folder.path(), 0o775);
        assert!(open(colleague), "a folder's group");
        assert!(!open(stranger), "another group than a folder's");
        set(folder.path(), 0o1777);
        assert!(!open(stranger), "a sticky folder");
        let missing = folder.path().join("missing");
        assert!(stranger.way_in(&missing).is_some(), "what cannot be seen");
    }

    #[test]
    fn whoever_owns_the_folder_has_a_way_in() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can give folders to others");
            return;
        }
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("agent");
        std::fs::write(&file, "").unwrap();
        set(&file, 0o755);
        set(folder.path(), 0o755);
        let user = Writer {
            uid: 4001,
            groups: &[4002],
        };
        assert!(user.way_in(&file).is_none());
        chown(folder.path(), Some(4001), Some(0)).unwrap();
        assert!(user.way_in(&file).is_some(), "a folder's owner");
    }
}
