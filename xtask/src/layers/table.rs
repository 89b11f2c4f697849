//! The layer table of ARCHITECTURE.md, as data.

/// Where a crate stands. Arrows point from the later to the earlier of these, except where a row says less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layer {
    /// Values in, values out: decisions without async, sockets, files, environment, clock or randomness.
    Core,
    /// What core needs from the world, as traits.
    Ports,
    /// One driver or platform each, behind a port.
    Adapter,
    /// Sockets, TLS, streaming. They know neither each other nor any adapter.
    Surface,
    /// The one binary, which puts everything together.
    Program,
    /// Fakes and contract suites, for tests.
    Testkit,
    /// This program.
    Automation,
}

/// One crate of the workspace.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) layer: Layer,
    /// For core: the core crates that it may use. The other layers follow from their name.
    pub(crate) siblings: &'static [&'static str],
    /// For core: the libraries that it may use beyond [`PURE`].
    pub(crate) outside: &'static [&'static str],
}

pub(crate) fn row(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

/// Libraries of values and encodings, which any core crate may use.
pub(crate) const PURE: &[&str] = &[
    "base64",
    "serde",
    "serde_json",
    "sha2",
    "subtle",
    "thiserror",
    "zeroize",
];

/// Libraries that only some crates may see.
pub(crate) const OWNED: &[(&str, &[&str])] = &[
    ("cedar-policy", &["mandate-policy"]),
    (
        "aws-lc-rs",
        &[
            "mandate-token",
            "mandate-audit",
            "mandate-store-sqlite",
            "mandate-attest",
            "mandate-upstream",
            "mandate-testkit",
            "mandate",
            // For their tests alone, which sign tokens of their own.
            "mandate-decide",
            "mandate-gateway",
            // The ceiling that exchanges are held against.
            "mandate-bench",
        ],
    ),
    ("rusqlite", &["mandate-store-sqlite"]),
    ("axum", &["mandate-authority", "mandate"]),
];

const ROWS: &[Row] = &[
    core("mandate-model", &[], &["jiff", "uuid"]),
    core(
        "mandate-policy",
        &["mandate-model"],
        &["cedar-policy", "schemars", "serde-saphyr"],
    ),
    core("mandate-token", &["mandate-model"], &["aws-lc-rs"]),
    core("mandate-audit", &["mandate-model"], &["aws-lc-rs"]),
    core(
        "mandate-decide",
        &[
            "mandate-model",
            "mandate-policy",
            "mandate-token",
            "mandate-audit",
        ],
        &["http", "percent-encoding"],
    ),
    other("mandate-ports", Layer::Ports),
    other("mandate-store-sqlite", Layer::Adapter),
    other("mandate-spool", Layer::Adapter),
    other("mandate-attest", Layer::Adapter),
    other("mandate-upstream", Layer::Adapter),
    other("mandate-authority", Layer::Surface),
    other("mandate-gateway", Layer::Surface),
    other("mandate", Layer::Program),
    other("mandate-bench", Layer::Program),
    other("mandate-properties", Layer::Program),
    other("mandate-testkit", Layer::Testkit),
    other("xtask", Layer::Automation),
];

const fn core(
    name: &'static str,
    siblings: &'static [&'static str],
    outside: &'static [&'static str],
) -> Row {
    Row {
        name,
        layer: Layer::Core,
        siblings,
        outside,
    }
}

const fn other(name: &'static str, layer: Layer) -> Row {
    Row {
        name,
        layer,
        siblings: &[],
        outside: &[],
    }
}
