#!/bin/sh
# Puts the example server of zitadel/oidc, a certified OpenID Provider that exchanges tokens (RFC 8693), into the
# target folder, for `cargo bench -p mandate-bench --bench exchange`. Needs Go and a module proxy.
# ZITADEL_OIDC=/path/to/server does without.
set -eu
cd "$(dirname "$0")/.."
target="$(realpath -m "${CARGO_TARGET_DIR:-target}")"
mkdir -p "$target/zitadel"
cd "$target/zitadel"
GOBIN="$target/zitadel" go install github.com/zitadel/oidc/v3/example/server@v3.51.14
ls -l "$target/zitadel/server"
