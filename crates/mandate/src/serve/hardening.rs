//! What a process that holds keys and secrets does first (C4).

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// No core dumps, and nobody of the same user may trace this process or read its memory.
///
/// Root on this machine still can; that is out of scope, and said so.
pub(crate) fn harden() -> std::io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// How many connections each of three doors may take, the gateway's, the token endpoint's and the
/// agents' socket: callers who are nobody must never use up the descriptors that operators, the
/// control stream and the records need.
///
/// Raises this process's limit as far as it may. An access needs two descriptors, an exchange one.
pub(crate) fn connections() -> usize {
    let limits = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limits.maximum,
        maximum: limits.maximum,
    };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limits.maximum,
        Err(_) => limits.current,
    };
    let descriptors = limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    share(descriptors)
}

fn share(descriptors: usize) -> usize {
    (descriptors.saturating_sub(RESERVED) / 4).clamp(16, MOST_CONNECTIONS)
}

/// For operators, gateways, metrics, the store, the spool and the log.
const RESERVED: usize = 512;
const MOST_CONNECTIONS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_get_a_share_of_the_descriptors_and_never_all() {
        for descriptors in [1024, 4096, 1 << 20] {
            let connections = share(descriptors);
            assert!(connections * 4 + RESERVED <= descriptors, "{descriptors}");
        }
        assert_eq!(share(0), 16);
        assert_eq!(share(usize::MAX), MOST_CONNECTIONS);
        assert!(connections() >= 16);
    }
}
