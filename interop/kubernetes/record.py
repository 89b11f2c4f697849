"""Asks a real API server what it says of tokens, good and bad, and writes down each exchange.

usage: record.py BIN FILE    BIN has `kube-apiserver` and `etcd`

The tokens in FILE were good for an hour, at a server that is gone.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from cluster import Cluster

REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"


def main(bin: Path, file: Path):
    with tempfile.TemporaryDirectory() as folder, Cluster(bin, Path(folder)) as cluster:
        file.write_text(json.dumps(Recorder(cluster).record(), indent=1) + "\n")


class Recorder:
    def __init__(self, cluster):
        self.cluster, self.exchanges = cluster, []

    def record(self):
        cluster = self.cluster
        cluster.make("/api/v1/namespaces", {"metadata": {"name": "agents"}})
        cluster.make("/api/v1/nodes", {"metadata": {"name": "node-a"}})
        cluster.service_account("agents", "retriever")
        cluster.service_account("agents", "reviewer")
        reviewer = cluster.token("agents", "reviewer", cluster.url)
        now = int(time.time())

        pods = [cluster.pod("agents", f"retriever-{n}", "retriever", "node-a") for n in range(4)]
        tokens = [cluster.token("agents", "retriever", "mandate", pod) for pod in pods]
        self.ask("reviewer without rights", tokens[1], reviewer)
        cluster.bind("review", "system:auth-delegator",
                     {"kind": "ServiceAccount", "name": "reviewer", "namespace": "agents"})
        while self.post(tokens[2], reviewer)[1] != 201:
            time.sleep(0.1)

        self.ask("good", tokens[0], reviewer)
        self.ask("tampered", tampered(tokens[0]), reviewer)
        self.ask("not bound to a pod", cluster.token("agents", "retriever", "mandate"), reviewer)
        self.ask("for the API server", cluster.token("agents", "retriever", cluster.url, pods[0]), reviewer)
        self.ask("one year", cluster.token("agents", "retriever", "mandate", pods[0], 365 * 86400), reviewer)
        # Never reviewed before, so the server's memory of ten seconds is not in the way.
        cluster.delete("/api/v1/namespaces/agents/pods/retriever-3")
        self.ask("pod deleted", tokens[3], reviewer, until="invalidated")
        cluster.service_account("agents", "leaving")
        pod = cluster.pod("agents", "leaving-0", "leaving", "node-a")
        gone = cluster.token("agents", "leaving", "mandate", pod)
        cluster.delete("/api/v1/namespaces/agents/serviceaccounts/leaving")
        self.ask("service account deleted", gone, reviewer, until="error")

        version = json.loads(cluster.call("GET", "/version")[1])
        jwks = json.loads(cluster.call("GET", "/openid/v1/jwks")[1])
        return {"server": cluster.url, "issuer": cluster.url, "at": now, "go": version["goVersion"],
                "jwks": jwks, "exchanges": self.exchanges}

    def post(self, token, reviewer):
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
                   "spec": {"token": token, "audiences": ["mandate"]}}
        return request, *self.cluster.call("POST", REVIEWS, request, reviewer)

    def ask(self, case, token, reviewer, until=""):
        for _ in range(100):
            request, status, body = self.post(token, reviewer)
            if until in body:
                self.exchanges.append({"case": case, "request": request, "status": status, "body": body})
                return
            time.sleep(0.3)
        raise SystemExit(f"{case}: {status} {body}")


def tampered(token):
    head, signature = token.rsplit(".", 1)
    return f"{head}.{signature[:-8]}AAAAAAAA"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
