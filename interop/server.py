"""A `mandate serve` of its own, with a bundle and an attest.yaml."""

import base64
import json
import os
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"

OPERATOR = """
kind: Operator
metadata: {{name: interop}}
spec: {{uid: {uid}, rights: [suspend, resume, apply, upstreams, tasks, tokens, audit, keys, gateways, inspect]}}
---
"""


def agent(name, rule):
    return f"""
---
kind: AgentType
metadata: {{name: {name}}}
spec:
  attestation: [{rule}]
  breakGlass: {{contact: "#interop", impact: The interoperability run fails.}}
"""


class Server:
    """Runs `program` on a folder of its own until the `with` ends."""

    def __init__(self, program, folder):
        self.program, self.data = str(program), Path(folder) / "data"
        self.log = Path(folder) / "server.log"
        self.process = None
        self.environment = {**os.environ, "MANDATE_DATA": str(self.data)}

    def start(self, attest_yaml="", gateway_yaml=""):
        self.data.mkdir(mode=0o700)
        for name, text in [("attest.yaml", attest_yaml), ("gateway.yaml", gateway_yaml)]:
            (self.data / name).write_text(text)
            (self.data / name).chmod(0o600)
        listen = [f"--{door}=127.0.0.1:0" for door in ("listen", "gateway-listen", "metrics-listen")]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([self.program, "serve", "--trust-domain", "interop.example", *listen],
                                            stdout=subprocess.PIPE, stderr=log, env=self.environment)
        if not self.process.stdout.readline():
            raise SystemExit(self.log.read_text()[-4000:])
        self.endpoints = json.loads((self.data / "run" / "endpoints.json").read_text())
        self.issuer = self.endpoints["issuer"]
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process:
            self.process.terminate()
            self.process.wait()

    def mandate(self, *args):
        done = subprocess.run([self.program, *args], env=self.environment, capture_output=True, text=True)
        if done.returncode not in (0, 1):
            raise SystemExit(f"mandate {args}: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def apply(self, *documents):
        file = self.data.parent / "bundle.yaml"
        file.write_text(OPERATOR.format(uid=os.getuid()) + "\n---\n".join(documents))
        done = subprocess.run([self.program, "apply", str(file), "--yes"], env=self.environment,
                              capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)

    def attest(self, token, kind=JWT, **more):
        """Status and answer of an exchange of evidence."""
        form = {"grant_type": GRANT, "subject_token_type": kind, "subject_token": token, **more}
        request = urllib.request.Request(f"{self.issuer}/token", urllib.parse.urlencode(form).encode())
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def svid(self, token, **more):
        """The claims of the JWT-SVID that `token` gets."""
        status, answer = self.attest(token, **more)
        assert status == 200, answer
        return claims(answer["access_token"])

    def refused(self, token, part, **more):
        status, answer = self.attest(token, **more)
        assert status in (401, 503) and part in answer["error_description"], (status, answer)

    def attested(self):
        """The records of attestations, as the log has them."""
        found = self.mandate("audit", "search", "--output", "json")
        records = [record["event"] for record in json.loads(found)["records"]]
        return [record for record in records if record["what"]["kind"] == "attested"]


def claims(token):
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def until(what, seconds=30):
    """Waits until `what()` is true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.2)
