use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mandate_audit::Event;
use mandate_model::GatewayId;
use mandate_ports::{Entropy, Spool, SpoolError};
use mandate_testkit::losing_disk::{Fate, Image, LosingDisk};
use mandate_testkit::spool_suite::{self, event};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::format::{BLOCK, GroupHeader, usize_of};
use crate::{FileSpool, OnDamage, OpenError, SpoolLimits, SpoolOptions};

/// Names that differ.
#[derive(Default)]
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        let n = self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        bytes
            .iter_mut()
            .zip(n.iter().cycle())
            .for_each(|(b, n)| *b = *n);
    }
}

const SMALL: SpoolLimits = SpoolLimits {
    segment_bytes: 512 << 10,
    max_unshipped_records: u64::MAX,
    max_unshipped_bytes: u64::MAX,
    max_unshipped_age: Duration::MAX,
};

pub(crate) fn private_folder() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let private = std::fs::Permissions::from_mode(0o700);
    tempfile::Builder::new()
        .permissions(private)
        .tempdir()
        .unwrap()
}

fn options(directory: &Path) -> SpoolOptions {
    SpoolOptions {
        directory: directory.to_owned(),
        gateway: GatewayId::parse("gateway-1").unwrap(),
        limits: SMALL,
        on_damage: OnDamage::Refuse,
    }
}

pub(crate) fn open(directory: &Path) -> Result<FileSpool, OpenError> {
    FileSpool::open(options(directory), Arc::new(Counting::default()))
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "seg"))
        .collect();
    files.sort();
    files
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .build()
        .unwrap()
        .block_on(future)
}

async fn append_all(spool: &FileSpool, sizes: &[usize]) {
    for size in sizes {
        spool.append(event("x".repeat(*size))).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract_of_spools() {
    let mut folders = Vec::new();
    spool_suite::run(|| {
        let folder = private_folder();
        let spool = open(folder.path()).unwrap();
        folders.push(folder);
        spool
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn goes_on_after_reopening() {
    let folder = private_folder();
    spool_suite::reopening(|| open(folder.path()).unwrap(), FileSpool::close).await;
}

#[test]
fn a_second_opener_of_the_folder_is_refused() {
    let folder = private_folder();
    let first = open(folder.path()).unwrap();
    let refused = open(folder.path()).err();
    assert_eq!(refused, Some(OpenError::InUse(folder.path().to_owned())));
    first.close();
    open(folder.path()).unwrap();
}

#[test]
fn a_folder_that_another_process_has_is_refused() {
    let folder = private_folder();
    open(folder.path()).unwrap().close();
    let mut other = std::process::Command::new("flock")
        .arg(folder.path().join("lock"))
        .args(["sh", "-c", "echo locked; read _"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut output = io::BufReader::new(other.stdout.take().unwrap());
    io::BufRead::read_line(&mut output, &mut line).unwrap();
    assert!(matches!(open(folder.path()), Err(OpenError::InUse(_))));
    drop(other.stdin.take());
    other.wait().unwrap();
    open(folder.path()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rotates_and_deletes_segments_that_are_wholly_shipped() {
    let folder = private_folder();
    let spool = open(folder.path()).unwrap();
    append_all(&spool, &[60_000; 30]).await;
    let full = segments(folder.path()).len();
    assert!(full >= 4, "{full} segments");
    assert_eq!(spool.read(0, 100).await.unwrap().len(), 30);

    spool.shipped(29).await.unwrap();
    assert_eq!(segments(folder.path()).len(), 1);
    let head = spool.head();
    spool.close();
    let spool = open(folder.path()).unwrap();
    assert_eq!((spool.head(), spool.unshipped_from()), (head, 29));
    assert_eq!(spool.read(29, 100).await.unwrap().len(), 1);
    assert!(spool.read(28, 1).await.is_err(), "28 was shipped");
}

fn limited(limits: SpoolLimits) -> (TempDir, FileSpool) {
    let folder = private_folder();
    let options = SpoolOptions {
        limits,
        ..options(folder.path())
    };
    let spool = FileSpool::open(options, Arc::new(Counting::default())).unwrap();
    (folder, spool)
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_when_too_many_records_wait_and_recovers_when_they_are_shipped() {
    let (_folder, spool) = limited(SpoolLimits {
        max_unshipped_records: 2,
        ..SMALL
    });
    append_all(&spool, &[1, 1]).await;
    assert_eq!(
        spool.append(admission("third")).await,
        Err(SpoolError::Unshipped)
    );
    spool.shipped(1).await.unwrap();
    assert_eq!(spool.append(admission("third")).await.unwrap().key.seq, 2);
}

/// A record on whose account something is let happen.
fn admission(label: &str) -> Event {
    Event {
        decision: mandate_audit::Decision::Allowed,
        ..event(label)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_accesses_is_still_recorded_when_no_more_are_admitted() {
    let (_folder, spool) = limited(SpoolLimits {
        max_unshipped_records: 2,
        max_unshipped_age: Duration::from_secs(60),
        ..SMALL
    });
    append_all(&spool, &[1, 1]).await;
    let refused = spool.append(admission("third")).await;
    assert_eq!(refused, Err(SpoolError::Unshipped));
    let late = Event {
        at: event("x").at.plus(Duration::from_secs(600)),
        ..event("late")
    };
    assert_eq!(spool.append(late).await.unwrap().key.seq, 2);
    let denied = Event {
        decision: mandate_audit::Decision::Denied,
        ..event("denied")
    };
    assert_eq!(spool.append(denied).await.unwrap().key.seq, 3);
    // The headroom ends, too.
    let refused = spool.append(event("fifth")).await;
    assert_eq!(refused, Err(SpoolError::Unshipped));
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_when_too_many_bytes_wait() {
    let (_folder, spool) = limited(SpoolLimits {
        max_unshipped_bytes: 1000,
        ..SMALL
    });
    append_all(&spool, &[1000]).await;
    assert_eq!(
        spool.append(admission("second")).await,
        Err(SpoolError::Unshipped)
    );
    spool.shipped(1).await.unwrap();
    spool.append(admission("second")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_when_a_record_waits_too_long() {
    let minute = Duration::from_secs(60);
    let (_folder, spool) = limited(SpoolLimits {
        max_unshipped_age: minute,
        ..SMALL
    });
    let first = admission("first");
    let later = |span: Duration| Event {
        at: first.at.plus(span),
        ..admission("later")
    };
    spool.append(first.clone()).await.unwrap();
    spool.append(later(minute)).await.unwrap();
    let late = later(minute + Duration::from_millis(1));
    assert_eq!(spool.append(late.clone()).await, Err(SpoolError::Unshipped));
    spool.shipped(1).await.unwrap();
    spool.append(late).await.unwrap();
}

/// A spool whose syncs fail while the switch is on.
pub(crate) fn faulty(directory: &Path) -> (FileSpool, Arc<AtomicBool>) {
    let broken = Arc::new(AtomicBool::new(false));
    let switch = broken.clone();
    let sync = move |file: &File| {
        if switch.load(Ordering::SeqCst) {
            Err(io::Error::other("the disk went away"))
        } else {
            file.sync_data()
        }
    };
    let entropy = Arc::new(Counting::default());
    let spool = FileSpool::open_with_sync(options(directory), entropy, Arc::new(sync)).unwrap();
    (spool, broken)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_fails_the_append_and_begins_a_new_spool() {
    let folder = private_folder();
    let (spool, broken) = faulty(folder.path());
    append_all(&spool, &[1, 1]).await;
    let former = spool.head();

    broken.store(true, Ordering::SeqCst);
    let failed = spool.append(event("lost")).await;
    assert!(
        matches!(failed, Err(SpoolError::Unwritable(_))),
        "{failed:?}"
    );
    broken.store(false, Ordering::SeqCst);

    let receipt = spool.append(event("first of the new spool")).await.unwrap();
    assert_eq!(receipt.key.seq, 0);
    assert_ne!(receipt.key.spool, former.spool);
    assert_eq!(spool.head().next, 1);

    let retired = spool.retired();
    assert_eq!(retired.len(), 1);
    assert_eq!(retired[0].head(), former, "it counts what was acknowledged");
    assert_eq!(retired[0].read(0, 10).await.unwrap().len(), 2);
    assert!(retired[0].append(event("more")).await.is_err());
    retired[0].shipped(2).await.unwrap();
    assert!(spool.retired().is_empty());
    assert_eq!(segments(folder.path()).len(), 1, "its files are gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shipment_that_a_new_spool_overtakes_is_counted_where_it_was_read() {
    let folder = private_folder();
    let (spool, broken) = faulty(folder.path());
    append_all(&spool, &[1, 1, 1]).await;
    // A shipper reads these, and its answer is still to come.
    let shipping = spool.to_ship();
    let shipping = shipping.last().unwrap();
    assert_eq!(shipping.read(0, 10).await.unwrap().len(), 3);
    let former = shipping.head();

    broken.store(true, Ordering::SeqCst);
    spool.append(event("lost")).await.unwrap_err();
    broken.store(false, Ordering::SeqCst);
    append_all(&spool, &[1, 1, 1, 1]).await;

    shipping.shipped(2).await.unwrap();
    assert_eq!(shipping.head(), former);
    assert_eq!(shipping.unshipped_from(), 2);
    let waiting: Vec<_> = spool.to_ship().iter().map(|s| s.unshipped_from()).collect();
    assert_eq!(waiting, [2, 0], "nothing of the new spool was shipped");
    let left = spool.current().read(0, 10).await.unwrap();
    assert_eq!(left.len(), 4, "nothing of the new spool is forgotten");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_spool_is_still_there_after_reopening() {
    let folder = private_folder();
    let (spool, broken) = faulty(folder.path());
    append_all(&spool, &[1]).await;
    let former = spool.head().spool;
    broken.store(true, Ordering::SeqCst);
    spool.append(event("lost")).await.unwrap_err();
    broken.store(false, Ordering::SeqCst);
    append_all(&spool, &[1]).await;
    let head = spool.head();
    spool.close();

    let spool = open(folder.path()).unwrap();
    assert_eq!(spool.head(), head);
    let retired = spool.retired();
    assert_eq!(retired[0].head().spool, former);
    assert!(!retired[0].read(0, 10).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn recovers_without_help_when_the_disk_has_space_again() {
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
    let folder = private_folder();
    let size = std::ffi::CString::new("size=3m").unwrap();
    let flags = MountFlags::empty();
    if let Err(error) = mount("mandate", folder.path(), "tmpfs", flags, size.as_c_str()) {
        eprintln!("skipped: a small file system cannot be mounted: {error}");
        return;
    }
    let spool = open(&folder.path().join("spool")).unwrap();
    append_all(&spool, &[1]).await;
    let ballast = folder.path().join("ballast");
    fill(&ballast);

    let mut refused = Ok(());
    for _ in 0..100 {
        refused = spool.append(event("x".repeat(60_000))).await.map(drop);
        if refused.is_err() {
            break;
        }
    }
    assert_eq!(refused, Err(SpoolError::Full));
    let head = spool.head();
    std::fs::remove_file(ballast).unwrap();
    let receipt = spool.append(event("again")).await.unwrap();
    assert_eq!(
        (receipt.key.seq, receipt.key.spool),
        (head.next, head.spool)
    );
    assert_eq!(
        u64::try_from(spool.read(0, 1000).await.unwrap().len()).unwrap(),
        head.next + 1
    );
    spool.close();
    open(&folder.path().join("spool")).unwrap().close();
    unmount(folder.path(), UnmountFlags::DETACH).unwrap();
}

/// Writes until the disk is full.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    while io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
}

#[test]
fn a_header_that_is_not_whole_is_damage_and_the_file_is_named() {
    let folder = private_folder();
    open(folder.path()).unwrap().close();
    let file = segments(folder.path()).remove(0);
    File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(100)
        .unwrap();
    let refused = open(folder.path()).err().unwrap();
    assert!(
        matches!(&refused, OpenError::Damaged { file: f, .. } if *f == file),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_shipped_and_is_missing_is_damage() {
    let folder = private_folder();
    let spool = open(folder.path()).unwrap();
    append_all(&spool, &[1, 1, 1]).await;
    spool.shipped(3).await.unwrap();
    spool.close();
    let file = segments(folder.path()).remove(0);
    File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(1024)
        .unwrap();
    assert!(matches!(
        open(folder.path()),
        Err(OpenError::Damaged { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_segment_is_damage() {
    let folder = private_folder();
    let spool = open(folder.path()).unwrap();
    append_all(&spool, &[60_000; 20]).await;
    spool.close();
    std::fs::remove_file(segments(folder.path()).remove(1)).unwrap();
    assert!(matches!(
        open(folder.path()),
        Err(OpenError::Damaged { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_can_set_damage_aside() {
    let folder = private_folder();
    let (spool, _) = written(folder.path(), &[10, 10, 10]).await;
    let former = spool.head().spool;
    spool.close();
    flip(&segments(folder.path()).remove(0), 700);
    assert!(matches!(
        open(folder.path()),
        Err(OpenError::Damaged { .. })
    ));

    let options = SpoolOptions {
        on_damage: OnDamage::StartNew,
        ..options(folder.path())
    };
    let spool = FileSpool::open(options, Arc::new(Counting(AtomicU64::new(9)))).unwrap();
    assert_eq!(spool.head().next, 0);
    assert_ne!(spool.head().spool, former);
    let aside = folder.path().join(format!("damaged-{former}"));
    assert_eq!(segments(&aside).len(), 1, "nothing is thrown away");
}

/// Where a group is: its file, its first byte and how many bytes it uses.
struct Place {
    file: PathBuf,
    begin: u64,
    used: u64,
}

/// Appends one group per size.
async fn written(directory: &Path, sizes: &[usize]) -> (FileSpool, Vec<Place>) {
    let spool = open(directory).unwrap();
    let mut places: Vec<Place> = Vec::new();
    for size in sizes {
        let receipt = spool.append(event("x".repeat(*size))).await.unwrap();
        let record = spool.read(receipt.key.seq, 1).await.unwrap().remove(0);
        let file = segments(directory).pop().unwrap();
        let begin = match places.last() {
            Some(former) if former.file == file => {
                (former.begin + former.used).next_multiple_of(BLOCK)
            }
            _ => BLOCK,
        };
        let used = GroupHeader::LEN + 4 + u64::try_from(record.event.len()).unwrap();
        places.push(Place { file, begin, used });
    }
    (spool, places)
}

fn flip(file: &Path, offset: u64) {
    use std::os::unix::fs::FileExt;
    let file = File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// How a crash leaves the file behind a point.
#[derive(Debug, Clone, Copy)]
enum Tail {
    Cut,
    Zeros,
    Noise,
}

fn tear(file: &Path, at: u64, tail: Tail) {
    use std::os::unix::fs::FileExt;
    let file = File::options().read(true).write(true).open(file).unwrap();
    let length = file.metadata().unwrap().len();
    let rest = usize::try_from(length - at).unwrap();
    match tail {
        Tail::Cut => file.set_len(at).unwrap(),
        Tail::Zeros => file.write_all_at(&vec![0; rest], at).unwrap(),
        Tail::Noise => file.write_all_at(&vec![0xA5; rest], at).unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever the point in the last file, exactly the groups before it are there, and the spool
    /// goes on.
    #[test]
    fn a_crash_at_any_point_keeps_exactly_what_was_whole(
        sizes in prop::collection::vec(prop_oneof![0_usize..2000, 50_000_usize..60_000], 1..12),
        point in any::<prop::sample::Index>(),
        tail in prop_oneof![Just(Tail::Cut), Just(Tail::Zeros), Just(Tail::Noise)],
    ) {
        let folder = private_folder();
        let after = private_folder();
        block_on(async {
            let (spool, places) = written(folder.path(), &sizes).await;
            let spool_name = spool.head().spool;
            copy(folder.path(), after.path());
            let last = places.last().unwrap();
            let at = BLOCK + point.index(usize_of(last.begin + last.used - BLOCK)) as u64;
            tear(&after.path().join(last.file.file_name().unwrap()), at, tail);
            let is_whole = |p: &&Place| p.file != last.file || p.begin + p.used <= at;
            let whole = places.iter().filter(is_whole).count() as u64;

            let recovered = open(after.path()).unwrap();
            assert_eq!((recovered.head().next, recovered.head().spool), (whole, spool_name));
            let records = recovered.read(0, 1000).await.unwrap();
            assert_eq!(records, spool.read(0, usize::try_from(whole).unwrap()).await.unwrap());
            assert_eq!(recovered.append(event("next")).await.unwrap().key.seq, whole);
            let head = recovered.head();
            recovered.close();
            assert_eq!(open(after.path()).unwrap().head(), head);
        });
    }

    /// A changed byte in any group but the last is never taken for a torn tail.
    #[test]
    fn damage_before_the_last_group_is_refused(
        sizes in prop::collection::vec(0_usize..2000, 2..8),
        point in any::<prop::sample::Index>(),
    ) {
        let folder = private_folder();
        block_on(async {
            let (spool, places) = written(folder.path(), &sizes).await;
            spool.close();
            let (_, acknowledged) = places.split_last().unwrap();
            let place = &acknowledged[point.index(acknowledged.len())];
            flip(&place.file, place.begin + point.index(usize_of(place.used)) as u64);
            let refused = open(folder.path());
            assert!(matches!(refused, Err(OpenError::Damaged { .. })));
        });
    }
}

fn mode_of(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_gets_at_a_spool() {
    let folder = private_folder();
    let directory = folder.path().join("a/spool");
    let spool = open(&directory).unwrap();
    append_all(&spool, &[1]).await;
    spool.shipped(1).await.unwrap();
    spool.close();
    assert_eq!(mode_of(&directory), 0o700);
    let files = std::fs::read_dir(&directory).unwrap();
    let files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 3);
    assert!(files.iter().all(|file| mode_of(file) == 0o600), "{files:?}");
}

#[test]
fn a_folder_or_file_that_others_can_open_is_refused_with_the_mend() {
    let folder = private_folder();
    let directory = folder.path().join("spool");
    open(&directory).unwrap().close();
    let lock = directory.join("lock");
    let segment = segments(&directory).remove(0);
    for (path, right, wrong) in [
        (&directory, 0o700, 0o755),
        (&lock, 0o600, 0o644),
        (&segment, 0o600, 0o640),
    ] {
        set_mode(path, wrong);
        let refused = open(&directory).err().unwrap().to_string();
        let mend = format!("chmod 0{right:o} {}", path.display());
        assert!(refused.contains(&mend), "{refused}");
        set_mode(path, right);
        open(&directory).unwrap().close();
    }
}

#[tokio::test]
async fn what_a_new_spool_acknowledged_is_there_after_a_crash() {
    let Some(disk) = LosingDisk::mount(Image::default(), 1) else {
        return;
    };
    let spool = open(&disk.path().join("data/spool")).unwrap();
    spool.append(event("the first")).await.unwrap();
    disk.crash();
    for fate in [Fate::Lost, Fate::Torn { sector: 512 }] {
        let found = LosingDisk::mount(disk.after_crash(fate, 1), 1).unwrap();
        let again = open(&found.path().join("data/spool")).unwrap();
        assert_eq!(again.head(), spool.head(), "{fate:?}");
    }
}
