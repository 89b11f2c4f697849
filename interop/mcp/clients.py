"""Official clients, unchanged, with and without the gateway in between."""

import json
import subprocess
import sys
from pathlib import Path

import suite

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


def inspector(cache, direct, gateway, headers):
    """What somebody types sees in the list what this task may use, and what it may not is an error."""
    def through(method, *more):
        return inspect(cache, gateway, headers, method, *more)

    def call(tool, *arguments):
        return ["tools/call", "--tool-name", tool, *(word for a in arguments for word in ("--tool-arg", a))]

    all_tools = {tool["name"]: tool for tool in inspect(cache, direct, None, "tools/list")["tools"]}
    tools = through("tools/list")["tools"]
    assert tools == [all_tools["echo"], all_tools["get-sum"]], tools
    for allowed in [call("echo", "message=hey"), call("get-sum", "a=1", "b=2")]:
        assert through(*allowed) == inspect(cache, direct, None, *allowed), allowed
    denied = through(*call("echo", "message=bye"))
    assert denied["isError"] and "mandate.unfit" in denied["content"][0]["text"], denied
    hidden = through(*call("get-env"))
    assert "not found on server" in hidden["error"], hidden
    print(f"server-everything, inspector: {len(tools)} of {len(all_tools)} tools shown, calls the same, another argument denied")


def inspect(cache, url, headers, method, *more):
    """What the inspector's command line prints, or `error` with what it says where that is nothing."""
    command = [suite.command(cache)[0], cache / "servers/node_modules/.bin/mcp-inspector", "--cli", url, "--transport", "http",
               "--method", method, *more]
    if headers is not None:
        name, scheme, file = headers.read_text().split()
        command += ["--header", f"{name} {scheme} {Path(file[1:]).read_text().strip()}"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60)
    return json.loads(done.stdout) if done.stdout else {"error": done.stderr}
