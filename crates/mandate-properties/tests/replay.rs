//! Every seed and every finding, once more.

#[cfg(test)]
mod replay {
    use std::path::Path;

    /// A seed whose name begins with `ok-` is accepted, and no other.
    #[test]
    fn every_seed_and_finding_keeps_its_property() {
        for (name, property) in mandate_properties::ALL {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../../fuzz/seeds")
                .join(name);
            let mut tried = 0;
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                println!("{}", path.display());
                let accepted = property(&std::fs::read(&path).unwrap());
                let file = path.file_name().unwrap().to_string_lossy();
                // Seeds that lead nowhere would leave a fuzzer at the door.
                assert_eq!(accepted, file.starts_with("ok-"), "{name}/{file}");
                tried += 1;
            }
            assert!(tried > 2, "{name} has hardly any seeds");
        }
    }
}
