//! Bundles: any text at all, as somebody might hand it to `apply`.

use mandate_policy::{Loaded, Mistake, Severity, load, plan};

use crate::world::{NOW, env, file};

/// Loads `data` as a bundle.
///
/// - It loads or it does not; what does not has at least one error, and every mistake points at a
///   place within the text.
/// - Loading is a function: the same text gives the same digest and the same table of access.
/// - A bundle compared with itself changes nothing.
/// - Whoever has access is a declared agent type with a documented way to be stopped.
pub fn bundle(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let load_it = || load(&[file(text)], &env(), NOW);
    match load_it() {
        Err(mistakes) => {
            check_places(&mistakes, text);
            let errors = mistakes.iter().filter(|m| m.severity == Severity::Error);
            assert!(errors.count() > 0, "refused without a reason");
            false
        }
        Ok(loaded) => {
            check_loaded(&loaded, &load_it().expect("it loaded a moment ago"));
            true
        }
    }
}

fn check_places(mistakes: &[Mistake], text: &str) {
    for mistake in mistakes {
        let end = mistake.offset + mistake.length;
        assert!(
            text.get(mistake.offset..end).is_some(),
            "{mistake} points outside of the text"
        );
        assert!(mistake.line >= 1 && mistake.column >= 1, "{mistake}");
        assert!(!mistake.message.is_empty());
    }
}

fn check_loaded(loaded: &Loaded, again: &Loaded) {
    let (bundle, again) = (&loaded.bundle, &again.bundle);
    assert_eq!(bundle.digest(), again.digest());
    let rows = bundle.access_table();
    assert_eq!(rows, again.access_table());
    let changes = plan(Some(bundle), again);
    assert!(changes.gains.is_empty() && changes.losses.is_empty() && changes.conditions.is_empty());
    for row in rows {
        let agent = bundle.agent(&row.agent).expect("a declared agent type");
        assert!(!agent.break_glass.contact.is_empty() && !agent.break_glass.impact.is_empty());
        assert!(!row.ways.is_empty(), "{row}: access without a policy");
    }
}
