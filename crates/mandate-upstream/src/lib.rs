//! Upstream credentials: named secrets, mapped and pinned by local configuration.
