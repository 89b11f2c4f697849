use crate::fixtures::{EXAMPLE, example_with, load_text};

#[test]
fn the_example_loads_without_a_warning() {
    let loaded = load_text(EXAMPLE).unwrap_or_else(|m| panic!("{m:#?}"));
    assert_eq!(loaded.warnings, []);
    let _ = example_with;
}
