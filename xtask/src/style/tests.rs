use super::{FOLDERS, HOSTS, Size, check_places, size};

#[test]
fn files_are_measured_by_their_lines() {
    assert_eq!(size("a.rs", &"x\n".repeat(400)), Size::Fine);
    assert_eq!(size("a.rs", &"x\n".repeat(401)), Size::Long(401));
    assert_eq!(size("a.rs", &"x\n".repeat(700)), Size::Long(700));
    assert_eq!(size("a.rs", &"x\n".repeat(701)), Size::TooLong(701));
}

#[test]
fn only_rust_files_are_measured() {
    assert_eq!(size("a.md", &"x\n".repeat(2000)), Size::Fine);
}

#[test]
fn a_path_of_one_machine_is_refused() {
    for folder in FOLDERS {
        let found = check_places("a.md", &format!("first\nsee {folder}x\n"));
        assert_eq!(found.len(), 1, "{folder}");
        assert_eq!(found[0].place, "a.md:2");
    }
}

#[test]
fn a_relative_path_with_the_same_folder_passes() {
    for folder in FOLDERS {
        assert!(check_places("a.md", &format!("see $dir{folder}x")).is_empty());
    }
}

#[test]
fn a_registry_host_is_refused() {
    for host in HOSTS {
        let found = check_places("a.md", &format!("from https://{host}/x"));
        assert_eq!(found.len(), 1, "{host}");
    }
}
