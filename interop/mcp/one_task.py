"""One task of two agents, over an HTTP API and two MCP servers that others wrote: `mandate trace` shows each access with
what led to it, from the trigger on. What a caller says of tasks and traces names none.
"""

import json
import os
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import suite
from clients import HERE
from server import until

AGENTS = ["planner", "analyst"]
# Both agents keep tokens in files, and send CLAIMED: that they work for another task.
TOKEN = """
set -eu; umask 077
token() {
  "$1" token "https://$2.interop.example$3" >"$2.token"
  printf 'Authorization: Bearer @%s\\nbaggage: %s\\n' "$PWD/$2.token" "$CLAIMED" >"$2.headers"
}
"""
PLANNER = TOKEN + """
echo "$MANDATE_TASK_ID" >task
token "$PLANNER" tickets ""
printf 'Authorization: Bearer %s\\n' "$(cat tickets.token)" >tickets.curl
curl -fsS -H @tickets.curl -H "baggage: $CLAIMED" -H "traceparent: $TRACEPARENT" "$GATEWAY/tickets/4711"
token "$PLANNER" files /mcp
"$PYTHON" "$USE/use.py" "$GATEWAY/files/mcp" files.headers <files.calls >files.out
"$PLANNER" task delegate spiffe://interop.example/agent/analyst --access "$PART" --to part.token
# Another agent: what it is it shows itself.
env -u MANDATE_SVID_FILE "$ANALYST" exec --bearer --task part.token -- sh -c "$ANALYST_SCRIPT"
"""
ANALYST = TOKEN + """
token "$ANALYST" repository /mcp
"$NODE" "$SUITE/use.mjs" "$GATEWAY/repository/mcp" repository.headers <repository.calls >repository.out
"""
CLAIM = {"key": "mandate.link", "value": {"stringValue": "claimed_by_the_caller"}}
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Tickets:
    """An HTTP API: one file a ticket."""

    def __init__(self, folder):
        folder.mkdir()
        (folder / "4711").write_text("the build is slow\n")
        handler = partial(type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None}), directory=folder)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"127.0.0.1:{self.server.server_port}"


def documents(folder, mandate, tickets):
    for name in AGENTS:
        shutil.copy(mandate, folder / name)
    return f"""
{agent("planner", folder, "maySpawn: [analyst]")}
{agent("analyst", folder)}
kind: ServerWorkload
metadata: {{name: tickets}}
spec:
  resource: https://tickets.interop.example
  upstream: http://{tickets.address}
  credential: none
  actions:
    read: {{effect: read, match: "GET /{{ticket}}"}}
---
kind: AccessPolicy
metadata: {{name: tickets-of-planners}}
spec: {{agents: [planner], server: tickets, actions: [read]}}
---
kind: AccessPolicy
metadata: {{name: files-of-planners}}
spec: {{agents: [planner], server: files, actions: [read]}}
---
kind: AccessPolicy
metadata: {{name: repositories-of-analysts}}
spec: {{agents: [analyst], server: repository, actions: [look], taskMustFix: [repository]}}
---
kind: TaskPolicy
metadata: {{name: incident}}
spec:
  opener: planner
  trigger: {{schedule: {{name: triage, itemId: required, unverified: allow}}}}
  ceiling:
    - {{server: tickets, actions: [read]}}
    - {{server: files, actions: [read]}}
    - {{server: repository, actions: [look]}}
  maxDuration: 10m
"""


def agent(name, folder, more=""):
    return f"""
kind: AgentType
metadata: {{name: {name}}}
spec:
  attestation: [{{process: {{uid: {os.getuid()}, path: "{folder / name}", isolation: none}}}}]
  breakGlass: {{contact: "#interop", impact: The interoperability run fails.}}
  {more}
---"""


def drive(server, cache, folder, gateway):
    claimed = other_task(server, folder)
    task = work(server, cache, folder, gateway, claimed)
    # A gateway's records reach the log within a lease.
    until(lambda: is_whole(traced(server, task), folder))
    trace = traced(server, task)
    check_cause(trace, task)
    check_each_access(trace["task"])
    check_each_way_in(server, trace)
    check_claims(server, task, claimed)
    print("one task of two agents, an HTTP API and two MCP servers: each access leads to its trigger, and no claim does")


def expected(folder):
    """What each agent used, by server, request, attributes and the rule that denied it. The analyst has two clients."""
    report, salaries = ({"path": [f"{folder}/shared/{name}"]} for name in ("reports/q3.txt", "salaries.txt"))
    ours, theirs = ({"repository": [f"{folder}/{name}"]} for name in ("ours", "theirs"))
    status = [("repository", "tool git_status", ours, None), ("repository", "tool git_status", theirs, "mandate.unfit")]
    return {"planner": [("tickets", "GET /{ticket}", {"ticket": ["4711"]}, None),
                        ("files", "tool read_text_file", report, None),
                        ("files", "tool read_text_file", salaries, "mandate.unfit")],
            "analyst": status * 2}


def accesses(task):
    return [step for step in task["steps"] if step["kind"] == "access"]


def uses(task):
    used = [step for step in accesses(task) if "action" in step]
    return [(step["server"], step["what"]["request"], step["attributes"], step.get("rule")) for step in used]


def is_whole(trace, folder):
    tasks = [trace["task"], *trace["task"]["children"]]
    ended = all("outcome" in step or step["decision"] == "denied" for task in tasks for step in accesses(task))
    return ended and {task["agent"]: uses(task) for task in tasks} == expected(folder)


def check_cause(trace, task):
    assert trace["principal"] == "spiffe://interop.example/agent/planner" and trace["purpose"] == "incident", trace
    assert trace["trigger"] == {"kind": "schedule", "name": "triage", "item": "4711", "verified": "none"}, trace["trigger"]
    assert trace["task"]["id"] == task and not trace["left_out"]
    [child] = trace["task"]["children"]
    assert child["agent"] == "analyst" and child["children"] == []


def check_each_access(task):
    """Each is of its task's agent, by a token that was issued to it for this server in this task."""
    issued = {step["token"]: step["server"] for step in task["steps"] if step["kind"] == "token" and "server" in step}
    for step in accesses(task):
        assert step["agent"] == task["agent"] and issued[step["token"]] == step["server"], step
        assert step["decision"] == "allowed" or step["rule"] == "mandate.unfit", step
    for child in task["children"]:
        check_each_access(child)


def check_each_way_in(server, trace):
    """Whoever has one record has the cause: of a use of the analyst's, and of the planner's denial."""
    [child] = trace["task"]["children"]
    for step in [accesses(child)[0], accesses(child)[-1], *(s for s in accesses(trace["task"]) if s["decision"] == "denied")]:
        assert traced(server, str(step["record"])) == trace, step
    said = server.mandate("trace", trace["task"]["id"])
    for part in ["triage", "planner", "analyst", "GET /{ticket}", "tool read_text_file", "tool git_status", "mandate.unfit"]:
        assert part in said, (part, said)


def check_claims(server, task, claimed):
    """Correlation ids came as baggage, in `_meta` and as `traceparent`."""
    other = traced(server, claimed)["task"]
    assert other["id"] == claimed and accesses(other) == [] and other["children"] == [], other
    spans = [span for resource in json.loads(server.mandate("trace", task, "--format", "otlp"))["resourceSpans"]
             for scope in resource["scopeSpans"] for span in scope["spans"]]
    assert {span["traceId"] for span in spans} == {task.removeprefix("task-").replace("-", "")}
    claims = [link for span in spans for link in span.get("links", []) if link["traceId"] == TRACEPARENT.split("-")[1]]
    assert claims and all(link["attributes"] == [CLAIM] for link in claims), claims


def opened(folder, *command):
    """A task of the planner's, for an item of a schedule."""
    access = ["tickets:read ticket=4711", f"files:read path^={folder}/shared/reports/",
              f"repository:look repository={folder}/ours"]
    words = [word for entry in access for word in ("--access", entry)]
    cause = ["--purpose", "incident", "--schedule", "triage", "--item", "4711"]
    return [folder / "planner", "exec", "--bearer", *cause, *words, "--", *command]


def other_task(server, folder):
    done = subprocess.run(opened(folder, "sh", "-c", 'echo "$MANDATE_TASK_ID"'), env=server.environment, check=True,
                          stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def work(server, cache, folder, gateway, claimed):
    place = folder / "work"
    place.mkdir()
    meta = {"baggage": f"task={claimed}", "traceparent": TRACEPARENT, "task": claimed}
    report = f"{folder}/shared/reports/q3.txt"
    calls = {
        "files": [("read_text_file", {"path": report}), ("read_text_file", {"path": f"{folder}/shared/salaries.txt"})],
        "repository": [("git_status", {"repo_path": f"{folder}/ours"}), ("git_status", {"repo_path": f"{folder}/theirs"})],
    }
    for name, uses in calls.items():
        uses = [{"name": tool, "arguments": arguments, "_meta": meta} for tool, arguments in uses]
        (place / f"{name}.calls").write_text(json.dumps(uses))
    environment = {**server.environment, **{name.upper(): str(folder / name) for name in AGENTS}, "GATEWAY": gateway,
                   "CLAIMED": f"task={claimed}", "TRACEPARENT": TRACEPARENT, "PART": f"repository:look repository={folder}/ours",
                   "ANALYST_SCRIPT": ANALYST, "PYTHON": str(cache / "python/bin/python"), "USE": str(HERE),
                   "NODE": str(suite.command(cache)[0]), "SUITE": str(cache / "suite")}
    subprocess.run(opened(folder, "sh", "-c", PLANNER), env=environment, cwd=place, check=True, stdout=subprocess.DEVNULL)
    return (place / "task").read_text().strip()


def traced(server, what):
    return json.loads(server.mandate("trace", what, "--output", "json"))
