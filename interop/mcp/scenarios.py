"""Scenarios of the conformance suite with and without the gateway in between: what each check says must be the same, but
for what differences.json lists with the reason.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import suite

HERE = Path(__file__).resolve().parent
WAYS = ["direct", "gateway"]
# Official TypeScript SDKs: the first speaks the older generation alone.
CLIENTS = [("first", "2025-11-25"), ("second", "2025-11-25"), ("second", "2026-07-28")]


def servers(folder, direct, through):
    """The suite as a client of two fixtures, of which `through` is behind the gateway: one alone would tell each run of what
    the other changes.
    """
    def run(way, url):
        done = subprocess.run([HERE / "conformance", url, folder / way], check=True, stdout=subprocess.PIPE, text=True)
        print(f"conformance, {way}:\n{done.stdout}", end="", flush=True)
        return json.loads((folder / way / "checks.json").read_text())

    with ThreadPoolExecutor(2) as pool:
        same("server", dict(zip(WAYS, pool.map(run, WAYS, (direct, through)))))
    print("conformance: the same with the gateway in between, but for what differences.json says")


def clients(folder, cache, gateway, headers):
    """The suite as a server to the official clients; the gateway reaches it through the relay."""
    said = {way: {} for way in WAYS}
    environment = {"direct": {}, "gateway": {"INTEROP_GATEWAY": gateway, "INTEROP_HEADERS": str(headers)}}
    runs = [(way, sdk, revision, name) for way in WAYS for sdk, revision in CLIENTS
            for name in sorted(suite.demanded(cache, "client", revision)) if not name.startswith("auth/")]

    def run(given):
        way, sdk, revision, name = given
        return client(cache, sdk, revision, name, folder / f"{way}-{sdk}-{revision}-{name}", environment[way])

    with ThreadPoolExecutor(3) as pool:
        for (way, sdk, revision, name), checks in zip(runs, pool.map(run, runs)):
            said[way].setdefault(f"{sdk}, {revision}", {})[name] = checks
    for label, scenarios in said["direct"].items():
        print(f"client {label}, direct: {suite.counted(scenarios)}")
    same("client", said)
    print("conformance, clients: the same with the gateway in between, but for what differences.json says")


def client(cache, sdk, revision, name, out, environment):
    program = f"{suite.command(cache)[0]} {cache / 'suite/conformer.mjs'} {sdk}"
    done = subprocess.run([*suite.command(cache), "client", "--command", program, "--scenario", name, "--spec-version", revision,
                           "--output-dir", out], env={**os.environ, **environment}, capture_output=True, text=True)
    written = list(out.glob("*/checks.json"))
    if len(written) != 1:
        sys.exit(f"the suite did not run {name}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    # What the client saw counts as much as what the suite saw of it.
    seen = suite.scrubbed((written[0].parent / "stdout.txt").read_text())
    return [*suite.checks(written[0]), {"id": "seen", "name": "Seen", "status": "INFO", "message": seen}]


def same(role, said):
    expected = json.loads((HERE / "differences.json").read_text()).get(role, {})
    found = {}
    for label, scenarios in said["direct"].items():
        for scenario, checks in scenarios.items():
            other = said["gateway"][label].get(scenario)
            if other != checks:
                found.setdefault(label, {})[scenario] = [check for check in other or [] if check not in checks]
    known = {label: sorted(scenarios) for label, scenarios in found.items()}
    if known != {label: sorted(scenarios) for label, scenarios in expected.items()}:
        sys.exit(f"not the same with the gateway in between: {json.dumps(found, indent=1)}")
