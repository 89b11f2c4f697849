"""Official clients, unchanged, with and without the gateway in between."""

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def official(cache, node, fixture, gateway, headers):
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
