//! The disk loses what it should, and nothing else.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use super::*;

fn disk() -> Option<LosingDisk> {
    LosingDisk::mount(Image::default(), 1)
}

fn crashed(disk: &LosingDisk, fate: Fate) -> Image {
    disk.crash();
    disk.after_crash(fate, 1)
}

/// A file that is there for good, with these bytes.
fn durable(disk: &LosingDisk, name: &str, bytes: &[u8]) -> File {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true);
    let file = options.open(disk.path().join(name)).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file.sync_all().unwrap();
    File::open(disk.path()).unwrap().sync_all().unwrap();
    file
}

#[test]
fn what_was_synced_is_there_and_what_was_not_is_lost() {
    let Some(disk) = disk() else { return };
    let file = durable(&disk, "file", b"before");
    file.write_all_at(b"after and more", 0).unwrap();
    assert_eq!(
        std::fs::read(disk.path().join("file")).unwrap(),
        b"after and more"
    );
    assert_eq!(
        crashed(&disk, Fate::Lost).read("file"),
        Some(&b"before"[..])
    );
}

#[test]
fn a_process_that_ends_loses_nothing() {
    let Some(disk) = disk() else { return };
    let file = durable(&disk, "file", b"before");
    file.write_all_at(b"after!", 0).unwrap();
    assert_eq!(
        crashed(&disk, Fate::Kept).read("file"),
        Some(&b"after!"[..])
    );
}

#[test]
fn a_name_is_durable_with_its_folder_and_not_with_its_file() {
    let Some(disk) = disk() else { return };
    let mut file = File::create(disk.path().join("file")).unwrap();
    file.write_all(b"bytes").unwrap();
    file.sync_all().unwrap();
    assert_eq!(crashed(&disk, Fate::Lost).read("file"), None);
}

#[test]
fn a_rename_is_wholly_there_or_not_at_all() {
    let Some(disk) = disk() else { return };
    drop(durable(&disk, "old", b"old"));
    drop(durable(&disk, "new", b"new"));
    let at = |name: &str| disk.path().join(name);
    std::fs::rename(at("new"), at("old")).unwrap();
    disk.crash();
    for seed in 0..16 {
        let found = disk.after_crash(Fate::Torn { sector: 512 }, seed);
        let found = (found.read("old"), found.read("new"));
        let before = (Some(&b"old"[..]), Some(&b"new"[..]));
        assert!(
            found == before || found == (Some(&b"new"[..]), None),
            "{found:?}"
        );
    }
}

#[test]
fn torn_writes_are_torn_at_sectors() {
    let Some(disk) = disk() else { return };
    let file = durable(&disk, "file", &[1; 4096]);
    file.write_all_at(&[2; 4096], 0).unwrap();
    disk.crash();
    let mut mixed = 0;
    for seed in 0..32 {
        let found = disk.after_crash(Fate::Torn { sector: 512 }, seed);
        let sectors: Vec<&[u8]> = found.read("file").unwrap().chunks(512).collect();
        assert!(
            sectors
                .iter()
                .all(|sector| sector.iter().all(|b| *b == sector[0]))
        );
        mixed +=
            usize::from(sectors.iter().any(|s| s[0] == 1) && sectors.iter().any(|s| s[0] == 2));
    }
    assert!(mixed > 8, "{mixed}");
}

#[test]
fn the_first_part_has_nothing_that_came_after_something_that_is_lost() {
    let Some(disk) = disk() else { return };
    let (one, two) = (durable(&disk, "one", b"."), durable(&disk, "two", b"."));
    one.write_all_at(b"1", 0).unwrap();
    two.write_all_at(b"2", 0).unwrap();
    disk.crash();
    let found: Vec<String> = (0..32)
        .map(|seed| {
            let image = disk.after_crash(Fate::FirstPart, seed);
            let text = [image.read("one").unwrap(), image.read("two").unwrap()].concat();
            String::from_utf8(text).unwrap()
        })
        .collect();
    assert!(
        found
            .iter()
            .all(|text| ["..", "1.", "12"].contains(&text.as_str())),
        "{found:?}"
    );
    assert!(
        ["..", "1.", "12"]
            .iter()
            .all(|text| found.iter().any(|found| found == text))
    );
}

#[test]
fn it_crashes_at_the_operation_that_it_was_told_and_nothing_changes_after_it() {
    let Some(disk) = disk() else { return };
    let file = durable(&disk, "file", b"....");
    disk.crash_after(1);
    file.write_all_at(b"1", 0).unwrap();
    assert!(!disk.has_crashed());
    assert!(file.write_all_at(b"2", 2).is_err());
    assert!(disk.has_crashed());
    assert!(file.sync_all().is_err());
    assert!(File::create(disk.path().join("another")).is_err());
    assert_eq!(
        disk.after_crash(Fate::Kept, 1).read("file"),
        Some(&b"1..."[..])
    );
    assert_eq!(disk.trace().last().unwrap().end, End::Crashed);
}

#[test]
fn something_fails_once_or_until_it_is_mended() {
    let Some(disk) = disk() else { return };
    let file = durable(&disk, "file", b"....");
    let fault = Fault {
        on: On::Writes,
        under: String::new(),
        after: 1,
        lasts: Lasts::Once,
        full: true,
    };
    disk.fail(fault.clone());
    let kind = |tried: io::Result<()>| tried.err().map(|e| e.kind());
    assert_eq!(kind(file.write_all_at(b"1", 0)), None);
    assert_eq!(
        kind(file.write_all_at(b"1", 0)),
        Some(io::ErrorKind::StorageFull)
    );
    assert_eq!(kind(file.write_all_at(b"1", 0)), None);
    let lasts = Lasts::UntilMended;
    disk.fail(Fault {
        lasts,
        after: 0,
        ..fault
    });
    for _ in 0..3 {
        assert!(file.write_all_at(b"1", 0).is_err());
    }
    file.sync_all().unwrap();
    disk.mend();
    file.write_all_at(b"2", 0).unwrap();
}

#[test]
fn a_sync_that_failed_may_have_lost_what_the_next_one_says_is_there() {
    let Some(disk) = disk() else { return };
    let mut lost = 0;
    for n in 0..16_u8 {
        let name = format!("file-{n}");
        let file = durable(&disk, &name, b"before");
        disk.fail(Fault {
            on: On::Syncs,
            under: String::new(),
            after: 0,
            lasts: Lasts::Once,
            full: false,
        });
        file.write_all_at(b"after!", 0).unwrap();
        assert!(file.sync_all().is_err());
        file.sync_all().unwrap();
        assert_eq!(std::fs::read(disk.path().join(&name)).unwrap(), b"after!");
    }
    let found = crashed(&disk, Fate::Kept);
    for n in 0..16 {
        lost += usize::from(found.read(&format!("file-{n}")) == Some(&b"before"[..]));
    }
    assert!((2..15).contains(&lost), "{lost}");
}

#[test]
fn a_disk_that_ignores_syncs_loses_what_was_synced() {
    let Some(disk) = disk() else { return };
    let file = durable(&disk, "file", b"before");
    disk.ignore_syncs(&["file"]);
    file.write_all_at(b"after!", 0).unwrap();
    file.sync_all().unwrap();
    assert_eq!(
        crashed(&disk, Fate::Lost).read("file"),
        Some(&b"before"[..])
    );
}

#[test]
fn what_is_found_after_a_crash_can_be_mounted_again() {
    let Some(first) = disk() else { return };
    std::fs::create_dir(first.path().join("folder")).unwrap();
    std::fs::write(first.path().join("folder/file"), b"bytes").unwrap();
    let found = crashed(&first, Fate::Kept);
    let second = LosingDisk::mount(found, 1).unwrap();
    let file = second.path().join("folder/file");
    assert_eq!(std::fs::read(&file).unwrap(), b"bytes");
    std::fs::remove_file(&file).unwrap();
    std::fs::remove_dir(second.path().join("folder")).unwrap();
    assert_eq!(std::fs::read_dir(second.path()).unwrap().count(), 0);
}

/// The other process, when it is asked for.
#[test]
fn a_disk_that_another_process_serves_is_the_same_disk() {
    let hook = "losing_disk::tests::a_disk_that_another_process_serves_is_the_same_disk";
    if apart::serve_if_asked() {
        return;
    }
    let disks = apart::Disks::start(hook);
    let Some(disk) = disks.mount(None, 1) else {
        return;
    };
    std::fs::write(disk.path().join("file"), b"bytes").unwrap();
    assert_eq!(disk.operations(), disk.trace().len() as u64);
    disk.crash_after(1);
    std::fs::write(disk.path().join("another"), b"bytes").unwrap_err();
    assert!(disk.has_crashed());
    let found = disk.after_crash(Fate::Kept, 1);
    drop(disk);
    let disk = disks.mount(Some(&found), 1).unwrap();
    assert_eq!(std::fs::read(disk.path().join("file")).unwrap(), b"bytes");
    disk.fail(Fault {
        on: On::Everything,
        under: "file".to_owned(),
        after: 0,
        lasts: Lasts::UntilMended,
        full: false,
    });
    std::fs::write(disk.path().join("file"), b"more").unwrap_err();
    disk.mend();
    std::fs::write(disk.path().join("file"), b"more").unwrap();
    let image = disk.all_synced();
    let again = disks.mount(Some(&image), 1).unwrap();
    assert_eq!(std::fs::read(again.path().join("file")).unwrap(), b"more");
}
