"""Roles of an imitation of AWS that checks signatures (moto) attest themselves at a real `mandate serve`, signed by botocore.

usage: drive.py MANDATE    with moto's programs beside this Python's
"""

import os
import socket
import subprocess
import sys
import tempfile
import urllib.error
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
import botocore.session
from agent import attest, exchange, post, signed
from botocore.credentials import Credentials
from server import Server, agent, claims, until

REGION, ACCOUNT = "eu-central-1", "123456789012"
PROVIDER = f"""
kind: TrustProvider
metadata: {{name: aws}}
spec: {{aws: {{accounts: ["{ACCOUNT}"], regions: [{REGION}]}}}}
"""


def main(mandate):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    # So many calls are believed before signatures are checked: those that make the first user.
    environment = {**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": "3"}
    moto = subprocess.Popen([Path(sys.executable).parent / "moto_server", "-H", "127.0.0.1", "-p", str(port)],
                            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: reachable(port))
        with tempfile.TemporaryDirectory() as folder, Server(mandate, folder) as server:
            server.start(f'dangerous_sts: "{url}"\n')
            role = "arn:aws:iam::{}:role/{}".format(ACCOUNT, "Retriever")
            server.apply(PROVIDER, agent("retriever", f'{{aws: {{provider: aws, role: "{role}"}}}}'))
            check(server, Aws(url))
    finally:
        moto.terminate()
        moto.wait()


def reachable(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Aws:
    """An account with a user who may do everything, and roles that it assumes."""

    def __init__(self, url):
        self.url = url
        iam = self.client("iam", Credentials("first", "first"))
        iam.create_user(UserName="admin")
        everything = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
        iam.put_user_policy(UserName="admin", PolicyName="all", PolicyDocument=everything)
        key = iam.create_access_key(UserName="admin")["AccessKey"]
        self.admin = Credentials(key["AccessKeyId"], key["SecretAccessKey"])
        trust = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}'
        for name in ("Retriever", "Other"):
            self.client("iam", self.admin).create_role(RoleName=name, AssumeRolePolicyDocument=trust)
            self.client("iam", self.admin).put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=everything)

    def client(self, service, credentials):
        return botocore.session.Session().create_client(
            service, region_name=REGION, endpoint_url=self.url,
            aws_access_key_id=credentials.access_key, aws_secret_access_key=credentials.secret_key)

    def role(self, name, session):
        arn = f"arn:aws:iam::{ACCOUNT}:role/{name}"
        made = self.client("sts", self.admin).assume_role(RoleArn=arn, RoleSessionName=session)["Credentials"]
        return Credentials(made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"])


def check(server, aws):
    issuer = server.issuer
    retriever = aws.role("Retriever", "i-0abc")
    svid = claims(attest(issuer, retriever, REGION)["access_token"])
    assert svid["sub"] == "spiffe://interop.example/agent/retriever", svid
    assert (svid["att"], svid["inst"]) == ("aws", retriever.access_key), svid
    facts = server.attested()[0]["what"]["facts"]
    assert (facts["role"], facts["claimed_session_name"]) == ("Retriever", "i-0abc"), facts

    challenge = lambda: post(f"{issuer}/attestation-challenge", {})["attestation_challenge"]
    once = signed(issuer, retriever, REGION, challenge())
    exchange(issuer, once)
    refused(lambda: exchange(issuer, once), 400, "used before")
    refused(lambda: attest(issuer, aws.role("Other", "Retriever"), REGION), 401, "no agent type")
    refused(lambda: attest(issuer, aws.admin, REGION), 401, "")
    wrong = Credentials(retriever.access_key, "wrong", retriever.token)
    refused(lambda: attest(issuer, wrong, REGION), 401, "AWS does not accept")
    elsewhere = signed("https://evil.example", retriever, REGION, challenge())
    refused(lambda: exchange(issuer, elsewhere), 401, "AWS does not accept")
    flipped = signed(issuer, retriever, REGION, challenge())
    flipped["authorization"] = flipped["authorization"][:-1] + ("0" if flipped["authorization"][-1] != "0" else "1")
    refused(lambda: exchange(issuer, flipped), 401, "AWS does not accept")
    foreign = signed(issuer, retriever, REGION, "AAAA")
    refused(lambda: exchange(issuer, foreign), 401, "none of this authority's")
    refused(lambda: attest(issuer, retriever, "us-east-1"), 401, "no agent type")
    print("botocore and moto: a role attested; replayed, foreign, unsigned, long-lived and other roles' requests refused")


def refused(call, status, part):
    try:
        answer = call()
    except urllib.error.HTTPError as error:
        text = error.read().decode()
        assert error.code == status and part in text, (error.code, text)
        return
    raise AssertionError(answer)


if __name__ == "__main__":
    main(sys.argv[1])
