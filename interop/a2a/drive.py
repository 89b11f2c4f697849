"""An agent on the official A2A SDK calls another one through the gateway of a real `mandate serve`, in both versions of
the protocol: the called agent knows its caller, reads a record with the task that it is handed, and all of it is one
trace; what the caller's task does not cover is refused.

usage: drive.py MANDATE CACHE    CACHE is what ./install prints
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from server import Server, until

AGENT = """
kind: AgentType
metadata: {{name: {name}}}
spec:
  attestation: [{{process: {{uid: {uid}, path: {path}, isolation: none}}}}]
  {more}
  breakGlass: {{contact: "#interop", impact: The interoperability run fails.}}
"""
BUNDLE = """
kind: ServerWorkload
metadata: {{name: helper}}
spec:
  resource: https://helper.interop.example
  upstream: http://{called}
  upstreamAudience: https://helper.internal.interop.example
  credential: {{mandateToken: {{}}}}
  a2a: {{agent: helper}}
  actions:
    ask:
      effect: read
      match: [rpc SendMessage, rpc SendStreamingMessage, rpc message/send, rpc message/stream]
      attributes: {{customer: /message/metadata/customer}}
    card: {{effect: read, match: "GET /.well-known/agent-card.json"}}
---
kind: ServerWorkload
metadata: {{name: records}}
spec:
  resource: https://records.interop.example
  upstream: http://{records}
  credential: none
  actions:
    read: {{effect: read, match: "GET /customers/{{customer}}"}}
---
kind: AccessPolicy
metadata: {{name: asking}}
spec: {{agents: [caller], server: helper, actions: [ask, card]}}
---
kind: AccessPolicy
metadata: {{name: reading}}
spec: {{agents: [helper], server: records, actions: [read], taskMustFix: [customer]}}
---
kind: TaskPolicy
metadata: {{name: calling}}
spec:
  opener: caller
  trigger: {{schedule: {{name: calling, unverified: allow}}}}
  ceiling: [{{server: helper, actions: [ask, card]}}, {{server: records, actions: [read]}}]
  maxDuration: 10m
"""
MAY = ["helper:ask customer=acme", "helper:card", "records:read customer=acme"]
# The caller, which hands the called agent a part of its task.
CALLER = """set -e
access="$("$0" token https://helper.interop.example)"
"$0" task delegate spiffe://interop.example/agent/helper --access "records:read customer=acme" --to "$1" >/dev/null
file="$1"; shift
exec "$@" "$access" "$file" """


class Records(BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"the record of {self.path.rsplit('/', 1)[1]}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main(mandate, cache):
    records = ThreadingHTTPServer(("127.0.0.1", 0), Records)
    threading.Thread(target=records.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder, Server(mandate, folder) as server:
        folder = Path(folder)
        program = folder / "helper"
        shutil.copy(mandate, program)
        server.start()
        gateway = f"http://{server.endpoints['gateway']}"
        python = cache / "python/bin/python"
        called = subprocess.Popen([python, HERE / "called.py", f"{gateway}/helper/", program, f"{gateway}/records/customers/acme"],
                                  env=server.environment, stdout=subprocess.PIPE, text=True)
        try:
            at = called.stdout.readline().split()[-1]
            uid = os.getuid()
            server.apply(AGENT.format(name="caller", uid=uid, path=mandate, more="maySpawn: [helper]"),
                         AGENT.format(name="helper", uid=uid, path=program, more=""),
                         BUNDLE.format(called=at, records=f"127.0.0.1:{records.server_port}"))
            access = [word for entry in MAY for word in ("--access", entry)]
            done = subprocess.run([mandate, "exec", "--bearer", "--purpose", "calling", "--schedule", "calling", *access, "--",
                                   "sh", "-c", CALLER, mandate, folder / "task", python, HERE / "client.py", f"{gateway}/helper/"],
                                  env=server.environment, capture_output=True, text=True, timeout=120)
            if done.returncode:
                sys.exit(done.stdout + done.stderr)
            check(json.loads(done.stdout), server)
        finally:
            called.terminate()
            called.wait()
            records.shutdown()


def check(said, server):
    # It began on its own account.
    agent = "spiffe://interop.example/agent/caller"
    caller = {"caller": agent, "for": agent,
              "audience": "https://helper.internal.interop.example"}
    for version, answers in said.items():
        for how in ("whole", "streamed"):
            assert answers[how] == [caller], (version, how, answers)
        assert answers["with its task"] == [{**caller, "record": "the record of acme"}], (version, answers)
        for how in ("denied", "denied, streamed"):
            assert "customer" in answers[how]["message"], (version, how, answers)
    print(f"A2A {' and '.join(said)}: the called agent knows its caller, another customer is refused")

    found = json.loads(server.mandate("audit", "search", "--kind", "task_opened", "--output", "json"))
    root = found["records"][0]["event"]["task"][0]

    def told():
        return server.mandate("trace", root)

    until(lambda: told().count("GET /customers/{customer}") == 2)
    for words in ("helper", "rpc SendMessage", "rpc SendStreamingMessage", "rpc message/send", "rpc message/stream"):
        assert words in told(), told()
    print("one trace, from the caller's trigger to what the called agent read")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
