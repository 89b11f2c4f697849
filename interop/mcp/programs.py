"""What runs beside the server while the driver does: programs that say where they listen, and the agent."""

import subprocess

from server import until


class Programs:
    """Until the `with` ends."""

    def __init__(self):
        self.running = []

    def start(self, *command):
        """The address that the program says it listens on."""
        process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
        self.running.append(process)
        for line in process.stdout:
            if line.startswith(("listening on ", "ready ")):
                return line.split()[-1]
        raise SystemExit(f"{command} ended")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.running):
            process.terminate()
            process.wait()


# An agent with a task of its own, which has fresh access tokens in files for as long as it runs.
AGENT = """while for file; do
  "$0" token "https://${file##*/}.interop.example/mcp" >"$file.new" && mv "$file.new" "$file" || exit 1
done; do sleep 45; done"""


def keep_tokens(server, access, files):
    """An agent that may do `access`, whose tokens are in `files`, each named as the server workload that it is for."""
    words = [word for entry in access for word in ("--access", entry)]
    command = [server.program, "exec", "--bearer", "--purpose", "conformance", "--schedule", "conformance", *words, "--",
               "sh", "-c", AGENT, server.program, *map(str, files)]
    process = subprocess.Popen(command, env=server.environment)
    until(lambda: files[-1].exists() or process.poll() is not None)
    assert files[-1].exists(), "the agent got no access token"
    return process
