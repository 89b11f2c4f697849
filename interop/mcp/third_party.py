"""Servers that others wrote, on standard input and output, behind `mandate mcp wrap` and the gateway: files, a repository
and a database. Official clients see and get there what the task's mandate says, and nothing else.
"""

import json
import sqlite3
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import suite
from clients import HERE, inspect

ALLOWED = None
# Why the others are not, as the model is told.
UNFIT, NO_ENTRY = "(rule `mandate.unfit`)", "(rule `mandate.no_entry`)"
GIT = ["git", "-c", "user.name=interop", "-c", "user.email=interop@interop.example"]


class Case:
    """A server, what the task may do there, and calls with whether they are allowed or why not."""

    def __init__(self, name, command, bundle, actions, access, tools, calls):
        self.name, self.command, self.bundle, self.actions = name, command, bundle, actions
        self.access, self.tools, self.calls = access, tools, calls

    def start(self, programs, mandate, folder):
        self.key = folder / f"{self.name}.key"
        options = ["--log", "warn", "--start-timeout", "120", "--key-file", self.key]
        self.url = programs.start(mandate, "mcp", "wrap", *options, "--", *self.command)

    def documents(self):
        return f"""
kind: ServerWorkload
metadata: {{name: {self.name}}}
spec:
  resource: https://{self.name}.interop.example/mcp
  upstream: http://{self.url.split("/")[2]}
  credential: {{header: Authorization, value: "Bearer ${{secret:{self.name}-key}}"}}
  mcp: {{}}
{self.bundle}---"""

    def secret(self):
        return f'  {self.name}-key: {{file: "{self.key}", origins: ["http://{self.url.split("/")[2]}"]}}\n'


def cases(cache, folder):
    return [files(cache, folder / "shared"), repository(cache, folder), database(cache, folder)]


def files(cache, shared):
    (shared / "reports").mkdir(parents=True)
    (shared / "reports" / "q3.txt").write_text("up\n")
    (shared / "salaries.txt").write_text("secret\n")

    def read(path):
        return {"name": "read_text_file", "arguments": {"path": path}}

    within = f"{shared}/reports/"
    return Case(
        "files", [suite.command(cache)[0], cache / "servers/node_modules/.bin/mcp-server-filesystem", shared / "reports"],
        f"""  actions:
    read: {{effect: read, match: [tool read_text_file, tool list_directory], attributes: {{path: {{argument: /path, type: path}}}}}}
    write: {{effect: write, match: tool write_file, attributes: {{path: {{argument: /path, type: path}}}}}}
---
kind: AccessPolicy
metadata: {{name: reading-reports}}
spec: {{agents: [conformer], server: files, actions: [read], limits: {{path: {{prefix: "{within}"}}}}}}
""",
        ["read"], [f"files:read path^={within}"], ["read_text_file", "list_directory"],
        [(read(f"{within}q3.txt"), ALLOWED), ({"name": "list_directory", "arguments": {"path": within}}, ALLOWED),
         (read(f"{shared}/salaries.txt"), UNFIT),
         (read(f"{within}../salaries.txt"), "(rule `request.attribute`)"),
         ({"name": "write_file", "arguments": {"path": f"{within}q3.txt", "content": "down"}}, NO_ENTRY)])


def repository(cache, folder):
    ours, theirs = folder / "ours", folder / "theirs"
    for path in (ours, theirs):
        subprocess.run([*GIT, "init", "--quiet", "--initial-branch=main", path], check=True)
        (path / "notes").write_text("first\n")
        subprocess.run([*GIT, "-C", path, "add", "notes"], check=True)
        subprocess.run([*GIT, "-C", path, "commit", "--quiet", "--message", "begin"], check=True)

    def git(tool, path, **more):
        return {"name": f"git_{tool}", "arguments": {"repo_path": str(path), **more}}

    return Case(
        "repository", [cache / "python/bin/mcp-server-git"],
        """  actions:
    look: {effect: read, match: [tool git_status, tool git_log], attributes: {repository: /repo_path}}
    commit: {effect: write, match: tool git_commit, attributes: {repository: /repo_path}}
---
kind: AccessPolicy
metadata: {name: looking}
spec: {agents: [conformer], server: repository, actions: [look], taskMustFix: [repository]}
""",
        ["look"], [f"repository:look repository={ours}"], ["git_status", "git_log"],
        [(git("status", ours), ALLOWED), (git("log", ours, max_count=1), ALLOWED), (git("status", theirs), UNFIT),
         (git("commit", ours, message="more"), NO_ENTRY)])


def database(cache, folder):
    path = folder / "customers.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table customers (name text)")
        connection.execute("insert into customers values ('acme')")
    connection.close()

    def query(kind, text):
        return {"name": f"{kind}_query", "arguments": {"query": text}}

    def table(name):
        return {"name": "describe_table", "arguments": {"table_name": name}}

    return Case(
        "database", [cache / "sqlite/bin/mcp-server-sqlite", "--db-path", path],
        """  actions:
    read: {effect: read, match: tool read_query}
    describe: {effect: read, match: tool describe_table, attributes: {table: /table_name}}
    write: {effect: write, match: tool write_query}
---
kind: AccessPolicy
metadata: {name: asking}
spec: {agents: [conformer], server: database, actions: [read, describe]}
""",
        ["read", "describe"], ["database:read", "database:describe table=customers"], ["read_query", "describe_table"],
        [(query("read", "select name from customers"), ALLOWED), (table("customers"), ALLOWED), (table("sqlite_master"), UNFIT),
         (query("write", "delete from customers"), NO_ENTRY)])


def drive(cache, folder, found, gateway, headers):
    """Each client at each server, past the gateway with the server's own key, and through it."""
    def run(case):
        direct = folder / f"{case.name}.direct"
        direct.write_text(f"Authorization: Bearer @{case.key}\n")
        for program in ([suite.command(cache)[0], cache / "suite/use.mjs"], [cache / "python/bin/python", HERE / "use.py"]):
            past = used(program, case, case.url, direct)
            through = used(program, case, gateway[case.name], headers[case.name])
            for client, got in through.items():
                same(case, client, past[client], got)
        inspected(cache, case, gateway[case.name], headers[case.name])
        return case.name

    with ThreadPoolExecutor(2) as pool:
        for name in pool.map(run, found):
            print(f"{name}: official clients and the inspector see and do what the task may, and nothing else")


def used(program, case, url, headers):
    # What is denied must not be done past the gateway either.
    calls = [call for call, why_not in case.calls if why_not is ALLOWED or url != case.url]
    done = subprocess.run([*map(str, program), url, str(headers)], input=json.dumps(calls), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def same(case, client, past, got):
    assert sorted(got["tools"]) == sorted(case.tools) and set(case.tools) < set(past["tools"]), (client, got["tools"])
    assert not any(result.get("isError") for result in past["results"]), past
    results = list(zip(case.calls, got["results"], strict=True))
    assert [result for (_, why_not), result in results if why_not is ALLOWED] == past["results"], (client, got, past)
    for (call, why_not), result in results:
        if why_not is not ALLOWED:
            assert result["isError"] and why_not in result["content"][0]["text"], (client, call, result)


def inspected(cache, case, url, headers):
    tools = inspect(cache, url, headers, "tools/list")["tools"]
    assert sorted(tool["name"] for tool in tools) == sorted(case.tools), tools
    call, _ = case.calls[0]
    words = [word for name, value in call["arguments"].items() for word in ("--tool-arg", f"{name}={value}")]
    said = inspect(cache, url, headers, "tools/call", "--tool-name", call["name"], *words)
    assert "content" in said and not said.get("isError"), said
