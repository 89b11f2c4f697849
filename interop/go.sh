# Sourced by `run`: the Go programs, built from pinned modules (go/go.mod, go/go.sum).

# What go/go.mod asks for. A go of 1.21 or later fetches it by itself; an older one, as Debian 12 has it, fetches the
# same as a module, checked against the same checksum database.
readonly GO_TOOLCHAIN=go1.26.7

build_go_programs() {
  GO_PROGRAMS="$(realpath -m "$CACHE/go")"
  readonly GO_PROGRAMS
  local go
  go="$(usable_go)"
  mkdir -p "$GO_PROGRAMS"
  (cd go && GOTOOLCHAIN=auto "$go" build -trimpath -o "$GO_PROGRAMS/" ./...)
}

usable_go() {
  command -v go >/dev/null || {
    printf 'go is missing: install golang-go, of any version\n' >&2
    return 1
  }
  if [ -n "$(go env GOTOOLCHAIN)" ]; then
    printf 'go\n'
    return
  fi
  local module folder
  module="golang.org/toolchain@v0.0.1-$GO_TOOLCHAIN.$(go env GOHOSTOS)-$(go env GOHOSTARCH)"
  folder="$(cd / && go mod download -json "$module" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')"
  # Modules have no executable files.
  find "$folder/bin" "$folder/pkg/tool" -type f ! -perm -u+x -exec chmod u+x {} +
  printf '%s\n' "$folder/bin/go"
}
