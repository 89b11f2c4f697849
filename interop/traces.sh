# Sourced by `run`: a task as an OpenTelemetry trace, taken in by the OpenTelemetry Collector itself.

build_collector() {
  COLLECTOR="$(realpath -m "$CACHE/collector")"
  readonly COLLECTOR
  local go
  go="$(usable_go)"
  (cd collector && GOTOOLCHAIN=auto "$go" build -trimpath -o "$COLLECTOR" .)
}

# Two agents, a delegated task, an access that was allowed and one that was not, and who asked for it all.
export_a_trace() {
  local record
  deny_an_access
  record="$(denied_record)"
  "$MANDATE" trace "$record" --format otlp >"$FOLDER/trace.json"
  start_collector
  "$MANDATE" trace "$record" --otlp-endpoint "http://$COLLECTOR_ADDRESS"
  stop_collector
  "$CACHE/python/bin/python" python/read_trace.py "$FOLDER/trace.json" "$FOLDER/received.json"
}

deny_an_access() {
  local status
  status="$(curl -sS -o /dev/null -w '%{http_code}' \
    -H "Authorization: Bearer $(cat "$FOLDER/access.jwt")" \
    -H 'traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01' \
    "http://$(endpoint gateway)/records/customers/globex")"
  [ "$status" = 403 ]
}

# A gateway's records reach the log within a lease.
denied_record() {
  local i found
  for ((i = 0; i < 100; i++)); do
    found="$("$MANDATE" audit search --kind access_decided --decision denied --limit 1 --output json |
      sed -n 's/^ *"index": \([0-9]*\),$/\1/p')"
    if [ -n "$found" ]; then
      printf '%s\n' "$found"
      return
    fi
    sleep 0.2
  done
  return 1
}

start_collector() {
  local free line=""
  free='import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
  COLLECTOR_ADDRESS="127.0.0.1:$(python3 -c "$free")"
  sed -e "s|\${endpoint}|$COLLECTOR_ADDRESS|" -e "s|\${folder}|$FOLDER|" collector/config.yaml >"$FOLDER/collector.yaml"
  mkfifo "$FOLDER/collector"
  "$COLLECTOR" --config "$FOLDER/collector.yaml" >"$FOLDER/collector" 2>&1 &
  COLLECTOR_PID=$!
  started+=("$COLLECTOR_PID")
  exec 6<"$FOLDER/collector"
  while read -r -t 60 line <&6; do
    case "$line" in *'Everything is ready'*) break ;; esac
    printf '%s\n' "$line" >>"$FOLDER/collector.log"
  done
  case "$line" in
    *'Everything is ready'*) cat <&6 >>"$FOLDER/collector.log" & ;;
    *) tail -n 20 "$FOLDER/collector.log" >&2 && return 1 ;;
  esac
}

# It writes what it took when it ends.
stop_collector() {
  kill "$COLLECTOR_PID"
  wait "$COLLECTOR_PID" || true
}
