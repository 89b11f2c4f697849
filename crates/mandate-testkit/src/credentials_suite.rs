//! What every [`Credentials`] must do.

use mandate_model::SecretName;
use mandate_ports::{CredentialError, Credentials, Origin};

/// One secret and where it may go.
#[derive(Debug)]
pub struct Mapped {
    /// A name that local configuration maps.
    pub name: SecretName,
    /// Its value.
    pub value: Vec<u8>,
    /// An origin that it is pinned to.
    pub pinned: Origin,
    /// A name that is not mapped.
    pub unmapped: SecretName,
}

/// Runs every case.
pub async fn run(credentials: &impl Credentials, case: &Mapped) {
    let secret = credentials.secret(&case.name, &case.pinned).await.unwrap();
    assert_eq!(secret.expose(), &case.value);
    let shown = format!("{secret:?}");
    assert!(!shown.contains(&*String::from_utf8_lossy(&case.value)));

    for other in others(&case.pinned) {
        let refused = credentials.secret(&case.name, &other).await;
        assert!(
            matches!(refused, Err(CredentialError::WrongOrigin { .. })),
            "{other}"
        );
    }
    let refused = credentials.secret(&case.unmapped, &case.pinned).await;
    let unmapped = CredentialError::Unmapped(case.unmapped.clone());
    assert_eq!(refused.err(), Some(unmapped));
}

/// Origins that differ from `pinned` by one detail.
fn others(pinned: &Origin) -> [Origin; 4] {
    let scheme = if pinned.scheme == "https" {
        "http"
    } else {
        "https"
    };
    let with = |change: fn(&mut Origin)| {
        let mut other = pinned.clone();
        change(&mut other);
        other
    };
    [
        Origin {
            scheme: scheme.to_owned(),
            ..pinned.clone()
        },
        with(|o| o.port = o.port.wrapping_add(1)),
        with(|o| o.host.push_str(".evil.example")),
        with(|o| o.host.insert_str(0, "x.")),
    ]
}
