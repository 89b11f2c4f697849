"""A cluster of one API server and its etcd, without nodes, and just enough of a client for it."""

import base64
import json
import os
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path


class Cluster:
    """Starts and ends the two programs. `bin` has `kube-apiserver` and `etcd`."""

    def __init__(self, bin: Path, folder: Path):
        self.folder, self.bin = folder, bin
        self.port, *self.etcd_ports = free_ports(3)
        self.url = f"https://127.0.0.1:{self.port}"
        self.admin = base64.b64encode(os.urandom(24)).decode()
        self.started = []

    def __enter__(self):
        self.make_keys()
        etcd, peer = (f"http://127.0.0.1:{port}" for port in self.etcd_ports)
        self.start("etcd", f"--data-dir={self.folder}/etcd", f"--listen-client-urls={etcd}",
                   f"--advertise-client-urls={etcd}", f"--listen-peer-urls={peer}",
                   f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}")
        (self.folder / "tokens.csv").write_text(f'{self.admin},admin,1,"system:masters"\n')
        self.start("kube-apiserver", f"--etcd-servers={etcd}", "--bind-address=127.0.0.1",
                   "--advertise-address=127.0.0.1", f"--secure-port={self.port}",
                   f"--tls-cert-file={self.folder}/server.pem", f"--tls-private-key-file={self.folder}/server.key",
                   f"--service-account-issuer={self.url}", f"--service-account-key-file={self.folder}/sa.pub",
                   f"--service-account-signing-key-file={self.folder}/sa.key", f"--api-audiences={self.url}",
                   f"--token-auth-file={self.folder}/tokens.csv", "--authorization-mode=RBAC",
                   "--service-cluster-ip-range=10.0.0.0/24", "--disable-admission-plugins=ServiceAccount")
        self.wait()
        return self

    def __exit__(self, *_):
        for program in reversed(self.started):
            program.terminate()
            program.wait()

    def start(self, name, *args):
        with open(self.folder / f"{name}.log", "wb") as log:
            self.started.append(subprocess.Popen([self.bin / name, *args], stdout=log, stderr=log))

    def make_keys(self):
        def openssl(*args):
            subprocess.run(["openssl", *args], cwd=self.folder, check=True, capture_output=True)

        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "server.key",
                "-out", "server.csr", "-subj", "/CN=kube-apiserver")
        (self.folder / "ext").write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
        openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "2", "-extfile", "ext", "-out", "server.pem")
        openssl("genrsa", "-out", "sa.key", "2048")
        openssl("rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub")

    def wait(self):
        for _ in range(300):
            if any(program.poll() is not None for program in self.started):
                break
            try:
                if self.call("GET", "/readyz")[0] == 200:
                    return
            except (OSError, urllib.error.URLError):
                pass
            time.sleep(0.2)
        raise SystemExit((self.folder / "kube-apiserver.log").read_text()[-4000:])

    def call(self, method, path, body=None, token=None):
        """Status and body of the answer."""
        context = ssl.create_default_context(cafile=self.folder / "ca.pem")
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, method=method)
        request.add_header("Authorization", f"Bearer {token or self.admin}")
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, context=context, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def make(self, path, body):
        status, text = self.call("POST", path, body)
        if status not in (200, 201):
            raise SystemExit(f"{path}: {status} {text}")
        return json.loads(text)

    def delete(self, path):
        status, text = self.call("DELETE", path, {"gracePeriodSeconds": 0})
        if status != 200:
            raise SystemExit(f"{path}: {status} {text}")

    def service_account(self, namespace, name):
        return self.make(f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": name}})

    def pod(self, namespace, name, account, node):
        spec = {"serviceAccountName": account, "nodeName": node, "containers": [{"name": "c", "image": "none"}]}
        return self.make(f"/api/v1/namespaces/{namespace}/pods", {"metadata": {"name": name}, "spec": spec})

    def token(self, namespace, account, audience, pod=None, seconds=3600):
        spec = {"audiences": [audience], "expirationSeconds": seconds}
        if pod:
            reference = {"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"]}
            spec["boundObjectRef"] = {**reference, "uid": pod["metadata"]["uid"]}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        return self.make(path, {"spec": spec})["status"]["token"]

    def bind(self, name, role, *subjects):
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
        body = {"metadata": {"name": name}, "roleRef": role, "subjects": list(subjects)}
        self.make("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", body)


def free_ports(count):
    """Ports that nobody listened on just now: neither program tells which one it took."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
