"""Attests pods of a real API server at a real `mandate serve`, with reviews and without.

usage: drive.py MANDATE BIN    BIN has `kube-apiserver` and `etcd`
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from cluster import Cluster
from record import tampered
from server import Server, agent, until


def provider(name, cluster, more):
    return f"""
kind: TrustProvider
metadata: {{name: {name}}}
spec: {{kubernetes: {{issuer: "{cluster.url}", audience: {name}{more}}}}}
"""


def main(mandate, bin):
    with tempfile.TemporaryDirectory() as folder, Cluster(Path(bin), Path(folder)) as cluster, \
            tempfile.TemporaryDirectory() as own, Server(mandate, own) as server:
        cluster.make("/api/v1/namespaces", {"metadata": {"name": "agents"}})
        cluster.make("/api/v1/nodes", {"metadata": {"name": "node-a"}})
        cluster.service_account("agents", "retriever")
        cluster.service_account("agents", "reviewer")
        cluster.bind("review", "system:auth-delegator",
                     {"kind": "ServiceAccount", "name": "reviewer", "namespace": "agents"})
        # Keys of an issuer are published to everybody only where somebody allows it.
        cluster.bind("discovery", "system:service-account-issuer-discovery",
                     {"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "system:unauthenticated"})
        reviewer = Path(folder) / "reviewer"
        reviewer.write_text(cluster.token("agents", "reviewer", cluster.url))
        server.start(f"""
clusters: [{{server: "{cluster.url}", ca: {folder}/ca.pem, token: {reviewer}}}]
roots: {folder}/ca.pem
""")
        server.apply(provider("reviewed", cluster, f', apiServer: "{cluster.url}"'),
                     provider("offline", cluster, ""),
                     agent("retriever", "{kubernetes: {provider: reviewed, serviceAccount: agents/retriever}}"),
                     agent("reader", "{kubernetes: {provider: offline, serviceAccount: agents/retriever}}"))
        check(cluster, server)


def check(cluster, server):
    pods = [cluster.pod("agents", f"retriever-{n}", "retriever", "node-a") for n in range(2)]
    token = lambda audience, pod, **more: cluster.token("agents", "retriever", audience, pod, **more)
    good = token("reviewed", pods[0])
    svid = server.svid(good)
    assert svid["sub"] == "spiffe://interop.example/agent/retriever", svid
    assert (svid["att"], svid["prv"]) == ("kubernetes", "reviewed"), svid
    assert svid["inst"] == pods[0]["metadata"]["uid"], svid
    facts = server.attested()[0]["what"]["facts"]
    assert facts["pod"] == "retriever-0" and facts["node"] == "node-a" and facts["reviewed"] == "true", facts

    server.refused(tampered(good), "signature")
    server.refused(token("reviewed", None), "no agent type's attestation rule fits")
    server.refused(token("reviewed", pods[0], seconds=365 * 86400), "longer than")
    server.refused(token("elsewhere", pods[0]), "for another audience")
    server.refused(cluster.token("agents", "reviewer", "reviewed"), "no agent type's attestation rule fits")

    offline = token("offline", pods[1])
    assert server.svid(offline)["att"] == "kubernetes-offline"
    server.refused(tampered(offline), "signature")

    leaving = token("reviewed", pods[1])
    server.svid(leaving)
    cluster.delete("/api/v1/namespaces/agents/pods/retriever-1")
    # The API server remembers what it reviewed for about ten seconds.
    until(lambda: server.attest(leaving)[0] == 401)
    assert server.svid(offline)["att"] == "kubernetes-offline", "nobody asked whether the pod is still there"

    found = server.mandate("doctor")
    assert f"{cluster.url} reviews its tokens" in found and "offline: 1 keys" in found, found
    print("kube-apiserver: a pod attested by review and offline; tampered, unbound, one-year, foreign and deleted refused")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
