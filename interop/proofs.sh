# Sourced by `run`: the log, read by implementations of transparency logs that know nothing of Mandate.

verify_the_log() {
  local tiles="$FOLDER/tiles" keys="$MANDATE_DATA/log-keys" kept="$FOLDER/kept"
  grow 270
  "$MANDATE" audit checkpoint --keep "$kept" >/dev/null
  "$MANDATE" audit export --tiles "$tiles" >/dev/null
  "$MANDATE" audit prove 7 --output json >"$FOLDER/proof"
  tlog verify -key "$keys" -folder "$tiles" -since "$kept" -record 0 -record 256 -proof "$FOLDER/proof"
  tlog verify -key "$keys" -socket "$MANDATE_DATA/run/operator.sock" -since "$kept" -record 7
  cp -r "$tiles" "$FOLDER/earlier"
  tlog tamper -key "$keys" -folder "$FOLDER/earlier"
  sed 's/"index": 7,/"index": 6,/' "$FOLDER/proof" >"$FOLDER/forged"
  refused 'does not hold' tlog verify -key "$keys" -folder "$tiles" -proof "$FOLDER/forged"

  grow 20
  "$MANDATE" audit export --tiles "$tiles" >/dev/null
  tlog verify -key "$keys" -folder "$tiles" -since "$kept" -record 260
  cp "$tiles/checkpoint" "$FOLDER/later"
  refused 'rolled back' tlog verify -key "$keys" -folder "$FOLDER/earlier" -since "$FOLDER/later"
}

# The same log goes on twice, each signed by its own key: what a host could show to one person and hide from another.
fork_the_log() {
  local keys="$MANDATE_DATA/log-keys" kept="$FOLDER/kept"
  stop_server
  cp -a "$MANDATE_DATA" "$FOLDER/fork"
  serve_on "$MANDATE_DATA"
  grow 10
  "$MANDATE" audit checkpoint --keep "$kept" >/dev/null
  stop_server
  serve_on "$FOLDER/fork"
  MANDATE_DATA="$FOLDER/fork" grow 30
  MANDATE_DATA="$FOLDER/fork" "$MANDATE" audit export --tiles "$FOLDER/forked" >/dev/null
  tlog verify -key "$keys" -folder "$FOLDER/forked"
  refused 'forked' tlog verify -key "$keys" -folder "$FOLDER/forked" -since "$kept"
}

tlog() {
  "$GO_PROGRAMS/tlog" "$@"
}

# A look at the log is a record of it. Returns when a checkpoint covers them all.
grow() {
  local wanted size=0 i
  for ((i = 0; i < $1; i++)); do
    "$MANDATE" audit search --limit 1 >/dev/null
  done
  wanted="$("$MANDATE" audit search --limit 1 --output json | sed -n 's/^ *"index": \([0-9]*\),$/\1/p')"
  for ((i = 0; i < 100 && size <= wanted; i++)); do
    size="$("$MANDATE" audit checkpoint 2>/dev/null | sed -n 2p)"
    sleep 0.2
  done
  [ "$size" -gt "$wanted" ]
}

# Whether a command fails, and says so in these words.
refused() {
  local words=$1
  shift
  if "$@" >"$FOLDER/said" 2>&1; then
    printf 'accepted, and should be refused (%s): %s\n' "$words" "$*" >&2
    return 1
  fi
  grep -q -- "$words" "$FOLDER/said" || {
    cat "$FOLDER/said" >&2
    return 1
  }
  printf 'refused: %s\n' "$(head -n 1 "$FOLDER/said")"
}

stop_server() {
  local pid
  pid="$(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' "$MANDATE_DATA/run/endpoints.json")"
  kill "$pid"
  wait "$pid" || true
}

serve_on() {
  local ready
  rm -f "$FOLDER/again"
  mkfifo "$FOLDER/again"
  MANDATE_DATA="$1" "$MANDATE" serve --dev --listen 127.0.0.1:0 --gateway-listen 127.0.0.1:0 \
    --metrics-listen 127.0.0.1:0 --dev-listen 127.0.0.1:0 >"$FOLDER/again" 2>>"$FOLDER/server.log" &
  started+=($!)
  exec 5<"$FOLDER/again"
  read -r -t 30 ready <&5
  printf 'mandate: %s\n' "$ready"
}
