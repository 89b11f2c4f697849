//! Checkpoints that are kept elsewhere, and copies of the log for others: what a host cannot take back.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use crate::lab::wait;
use crate::lab::{Lab, Ran};

/// A path in the lab's folder, as an argument.
fn path(lab: &Lab, name: &str) -> String {
    lab.data().join(name).display().to_string()
}

/// Waits for a checkpoint that covers all that is in the log now, and keeps it in `file`.
fn keep(lab: &Lab, file: &str) -> Ran {
    let records = lab.run(&["audit", "verify"]).value["records"].clone();
    wait::until("a checkpoint covers the log", || {
        let note = lab.run(&["audit", "checkpoint"]).value;
        let size = note["checkpoint"].as_str()?.lines().nth(1)?.parse().ok()?;
        (records.as_u64()? <= size).then_some(())
    });
    lab.run(&["audit", "checkpoint", "--keep", file])
}

/// One record for each look.
fn grow(lab: &Lab, records: u64) {
    for _ in 0..records {
        let search = "/operator/v1/log/search?limit=1";
        lab.operators().get(search, &[]).expect(200);
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let mode = std::fs::metadata(from).unwrap().permissions();
    std::fs::set_permissions(to, mode).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[test]
fn a_checkpoint_kept_elsewhere_tells_that_a_log_was_rolled_back_and_that_it_was_forked() {
    let mut lab = Lab::start();
    let kept = path(&lab, "kept");
    let first = keep(&lab, &kept);
    assert_eq!((first.code, &first.value["before"]), (0, &json!(null)));
    lab.server.kill();
    let (store, backup) = (lab.data().join("store"), lab.data().join("backup"));
    copy(&store, &backup);
    lab.restart();

    grow(&lab, 40);
    let second = keep(&lab, &kept);
    assert_eq!(second.code, 0, "{}", second.value);
    assert_eq!(second.value["before"], first.value["size"]);
    let size = second.value["size"].as_u64().unwrap();
    let since = |lab: &Lab| lab.run(&["audit", "verify", "--since", &kept]);
    let verified = since(&lab);
    assert!(matches!(verified.code, 0 | 3), "{}", verified.value);
    let consistent = json!({"size": size, "verdict": "consistent", "by_suspended_key": false});
    assert_eq!(verified.value["since"], consistent);

    // The log of before takes its place: fewer records than were seen, each of them genuine.
    lab.server.kill();
    std::fs::remove_dir_all(&store).unwrap();
    copy(&backup, &store);
    let found = since(&lab);
    let verdict = |found: &Ran| (found.code, found.value["since"]["verdict"].clone());
    assert_eq!(
        verdict(&found),
        (1, json!("rolled_back")),
        "{}",
        found.value
    );
    lab.restart();
    let note = std::fs::read_to_string(&kept).unwrap();
    let refused = lab.run(&["audit", "checkpoint", "--keep", &kept]);
    let said = refused.value["error"].as_str().unwrap();
    assert!(refused.code == 1 && said.contains("rolled back"), "{said}");

    // And then it goes on with other ones.
    grow(&lab, size);
    let refused = keep(&lab, &kept);
    let said = refused.value["error"].as_str().unwrap();
    assert!(refused.code == 1 && said.contains("forked"), "{said}");
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), note, "it stays");
    let found = since(&lab);
    assert_eq!(verdict(&found), (1, json!("forked")), "{}", found.value);
    let found = lab.run(&["audit", "verify"]);
    assert!(
        matches!(found.code, 0 | 3),
        "by itself it is whole: {}",
        found.value
    );
}

#[test]
fn what_is_no_checkpoint_of_this_log_is_refused_and_says_why() {
    let lab = Lab::start();
    let kept = path(&lab, "kept");
    let first = keep(&lab, &kept);
    let note = first.value["checkpoint"].as_str().unwrap().to_owned();
    let origin = note.lines().next().unwrap();
    let size = format!("\n{}\n", first.value["size"]);
    for (forged, why) in [
        (
            note.replace(origin, "elsewhere.example/log"),
            "of log `elsewhere.example/log`",
        ),
        (note.replacen(&size, "\n7\n", 1), "keys signed"),
        ("nonsense".to_owned(), "no checkpoint"),
    ] {
        assert_ne!(forged, note);
        std::fs::write(&kept, &forged).unwrap();
        for command in [
            &["audit", "verify", "--since", &kept][..],
            &["audit", "checkpoint", "--keep", &kept],
        ] {
            let ran = lab.run(command);
            let said = ran.value["error"].as_str().unwrap_or_default();
            assert!(
                ran.code == 1 && said.contains(why),
                "{command:?}: {}",
                ran.value
            );
        }
        assert_eq!(std::fs::read_to_string(&kept).unwrap(), forged);
    }
}

#[test]
fn an_export_of_tiles_is_brought_up_to_date_and_is_for_its_owner_alone() {
    let lab = Lab::start();
    let folder = lab.data().join("tiles");
    let to = path(&lab, "tiles");
    grow(&lab, 200);
    keep(&lab, &path(&lab, "kept"));
    let first = lab.run(&["audit", "export", "--tiles", &to]);
    assert_eq!(first.code, 0, "{}", first.value);
    let size = first.value["size"].as_u64().unwrap();
    let partial = folder.join(format!("tile/entries/000.p/{size}"));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&partial), mode(&folder.join("tile"))), (0o600, 0o700));

    grow(&lab, 100);
    keep(&lab, &path(&lab, "kept"));
    let second = lab.run(&["audit", "export", "--tiles", &to]);
    assert_eq!(second.code, 0, "{}", second.value);
    assert_eq!(second.value["before"], size);
    assert!(folder.join("tile/entries/000").is_file());
    assert!(!partial.exists(), "the full one has come");
    let note = std::fs::read_to_string(folder.join("checkpoint")).unwrap();
    let said: u64 = note.lines().nth(1).unwrap().parse().unwrap();
    assert_eq!(said, second.value["size"].as_u64().unwrap());

    // What is there already is not fetched again, and must fit what is.
    let tile = folder.join("tile/0/000");
    let mut bytes = std::fs::read(&tile).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&tile, bytes).unwrap();
    let third = lab.run(&["audit", "export", "--tiles", &to]);
    let broke = third.value["error"].as_str().unwrap();
    assert!(third.code == 1 && broke.contains("tile/0/000"), "{broke}");
    assert_eq!(
        std::fs::read_to_string(folder.join("checkpoint")).unwrap(),
        note
    );

    // Without its checkpoint nobody knows what the folder is: all of it is fetched and checked.
    std::fs::remove_file(folder.join("checkpoint")).unwrap();
    let anew = lab.run(&["audit", "export", "--tiles", &to]);
    assert_eq!(
        (anew.code, &anew.value["before"]),
        (0, &json!(null)),
        "{}",
        anew.value
    );
    let mended = lab.run(&["audit", "export", "--tiles", &to]);
    assert_eq!(mended.code, 0, "{}", mended.value);
}

#[test]
fn an_export_goes_to_a_file_or_to_a_folder_of_tiles() {
    let lab = Lab::start();
    let to = path(&lab, "x");
    for wrong in [
        &["audit", "export"][..],
        &["audit", "export", "--to", &to, "--tiles", &to],
        &["audit", "export", "--tiles", &to, "--from", "3"],
        &["audit", "export", "--to", &to, "--key", "k"],
    ] {
        assert_eq!(lab.run(wrong).code, 2, "{wrong:?}");
    }
}

/// Searches and traces show nothing that was put into the log's file, and say that something was.
#[test]
fn what_was_changed_on_disk_is_shown_by_no_search_which_says_so() {
    let mut lab = Lab::start();
    grow(&lab, 3);
    let search = |lab: &Lab| lab.run(&["audit", "search", "--kind", "operator_acted"]);
    let before = search(&lab);
    assert_eq!(before.code, 0, "{}", before.value);
    assert_eq!(before.value.get("damaged"), None);
    lab.server.stop();
    let file = lab.data().join("store/mandate.db");
    let mut bytes = std::fs::read(&file).unwrap();
    let (old, new) = (&b"\"log_search\""[..], &b"\"log_sealed\""[..]);
    let at = bytes
        .windows(old.len())
        .position(|part| part == old)
        .unwrap();
    bytes[at..at + old.len()].copy_from_slice(new);
    std::fs::write(&file, bytes).unwrap();
    let verified = lab.run(&["audit", "verify"]);
    assert_eq!(verified.code, 1, "{}", verified.value);
    let changed = verified.value["faults"][0]["first"].clone();

    lab.restart();
    let found = search(&lab);
    assert_eq!(found.code, 3, "{}", found.value);
    assert_eq!(found.value["damaged"], json!([changed]));
    assert!(!found.value.to_string().contains("log_sealed"));
    let shown = found.value["records"].as_array().unwrap();
    assert!(shown.len() >= 2 && shown.iter().all(|record| record["index"] != changed));
    let index = changed.to_string();
    let traced = lab.run(&["trace", &index]);
    let why = traced.value.to_string();
    assert!(traced.code == 1 && why.contains("audit verify"), "{why}");
    let exported = lab.run(&["audit", "export", "--to", &path(&lab, "records.jsonl")]);
    assert_ne!(exported.code, 0, "{}", exported.value);
}
