#!/bin/sh
# Puts ContextForge, an MCP gateway in Python, into the target folder, for `cargo bench -p mandate-bench --bench mcp`.
# Needs Python with `venv` and a package index. CONTEXTFORGE=/path/to/its/venv does without.
set -eu
cd "$(dirname "$0")/.."
target="${CARGO_TARGET_DIR:-target}"
python3 -m venv "$target/contextforge"
"$target/contextforge/bin/pip" install --quiet 'mcp-contextforge-gateway==1.0.7'
"$target/contextforge/bin/pip" show mcp-contextforge-gateway | sed -n 1,2p
