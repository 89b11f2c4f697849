"""Tokens of a certified OpenID provider, in the shapes that platforms document, are evidence at a real `mandate serve`; and
google-auth's external-account client, unchanged, gets its token there.

usage: drive.py MANDATE NODE PROVIDER    NODE runs PROVIDER, a copy of node/provider.mjs beside its packages
"""

import base64
import json
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
import google.auth.transport.requests
from google.auth import identity_pool
from server import JWT, Server, agent, claims
from spiffe import JwtBundle, JwtSvid, TrustDomain

AUDIENCE = "https://mandate.interop.example"
SHAPES = json.loads((HERE / "shapes.json").read_text())


def main(mandate, node, provider):
    process = subprocess.Popen([node, provider, str(HERE / "shapes.json")], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        issuer = process.stdout.readline().decode().strip()
        assert issuer.startswith("http"), process.stderr.read().decode()
        with tempfile.TemporaryDirectory() as folder, Server(mandate, folder) as server:
            server.start()
            for name, shape in SHAPES.items():
                check_shape(server, issuer, name, shape)
            check_google_auth(server, issuer, Path(folder))
    finally:
        process.terminate()
        process.wait()


def providers(issuer):
    def document(name, kind, more=""):
        return f'kind: TrustProvider\nmetadata: {{name: {name}}}\nspec: {{{kind}: {{issuer: "{issuer}", audience: "{AUDIENCE}"{more}}}}}\n'

    # One issuer and audience is one provider, so each shape has the one that its rule names.
    return {"tokens": document("tokens", "oidc"), "access-tokens": document("access-tokens", "oidc", ", tokenType: at+jwt"),
            "gitlab": document("gitlab", "gitlab")}


def check_shape(server, issuer, name, shape):
    provider = next(text for known, text in providers(issuer).items() if f"provider: {known}," in shape["rule"])
    token = fetch(issuer, name)
    server.apply(provider, agent("worker", shape["rule"]))
    svid = server.svid(token)
    assert svid["sub"] == "spiffe://interop.example/agent/worker", svid
    server.refused(token[:-4] + "AAAA", "signature")
    server.apply(provider, agent("worker", shape["unlike"]))
    server.refused(token, "no agent type's attestation rule fits")
    print(f"oidc-provider: a token like those of {name} is believed by its rule, and by no other")


def fetch(issuer, client):
    """A token by client credentials (RFC 6749 §4.4)."""
    form = urllib.parse.urlencode({"grant_type": "client_credentials", "resource": AUDIENCE}).encode()
    secret = base64.b64encode(f"{client}:secret-of-{client}".encode()).decode()
    request = urllib.request.Request(f"{issuer}/token", form, {"Authorization": f"Basic {secret}"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)["access_token"]


def check_google_auth(server, issuer, folder):
    """It sends no client authentication, asks for an access token, and takes the JWT-SVID that it gets."""
    name = "google-compute-engine"
    server.apply(providers(issuer)["tokens"], agent("worker", SHAPES[name]["rule"]))
    file = folder / "evidence"
    file.write_text(fetch(issuer, name))
    gateways = "spiffe://interop.example/mandate/gateway"
    credentials = lambda **more: identity_pool.Credentials(
        audience=gateways, subject_token_type=JWT, token_url=f"{server.issuer}/token",
        credential_source={"file": str(file)}, **more)
    made = credentials()
    made.refresh(google.auth.transport.requests.Request())
    assert made.valid and claims(made.token)["aud"] == gateways, made.token
    check_svid(server, made.token, gateways)
    try:
        credentials(scopes=["openid"]).refresh(google.auth.transport.requests.Request())
    except google.auth.exceptions.OAuthError as error:
        assert "invalid_request" in str(error) and "scope" in str(error), error
    else:
        raise AssertionError("a scope that nothing can have was ignored")
    print("google-auth: an external account's token exchange; spiffe: the JWT-SVID that it got")


def check_svid(server, token, audience):
    with urllib.request.urlopen(f"{server.issuer}/spiffe/bundle", timeout=20) as answer:
        bundle = JwtBundle.parse(TrustDomain("interop.example"), answer.read())
    svid = JwtSvid.parse_and_validate(token, bundle, {audience})
    assert str(svid.spiffe_id) == "spiffe://interop.example/agent/worker", svid.spiffe_id


if __name__ == "__main__":
    main(*sys.argv[1:])
