"""Reads Mandate's tokens with libraries that know nothing of it: joserfc and PyJWT (JOSE), spiffe (JWT-SVIDs)."""

import json
import os
import urllib.request
from pathlib import Path

import jwt as pyjwt
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from spiffe import JwtBundle, JwtSvid, TrustDomain
from spiffe.errors import PySpiffeError

FOLDER = Path(os.environ["INTEROP_FOLDER"])
ENDPOINTS = json.loads((Path(os.environ["MANDATE_DATA"]) / "run/endpoints.json").read_text())
ISSUER, DOMAIN = ENDPOINTS["issuer"], ENDPOINTS["trust_domain"]


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read()


def read(name: str) -> str:
    return (FOLDER / name).read_text().strip()


def refused(kind: type[Exception], work) -> None:
    try:
        work()
    except kind:
        return
    raise AssertionError(f"not refused: {work}")


def joserfc_reads_a_task_token(metadata: dict) -> None:
    keys = KeySet.import_key_set(json.loads(fetch(metadata["jwks_uri"])))
    token = jwt.decode(read("task.jwt"), keys, algorithms=["ES256"])
    assert token.header["typ"] == "txntoken+jwt"
    wanted = jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": ISSUER},
        aud={"essential": True, "value": f"spiffe://{DOMAIN}"},
        exp={"essential": True},
        txn={"essential": True},
    )
    wanted.validate(token.claims)
    assert token.claims["may_act"]["sub"] == f"spiffe://{DOMAIN}/agent/retriever"
    assert token.claims["tctx"]["purpose"] == "support-case"
    other_audience = jwt.JWTClaimsRegistry(aud={"essential": True, "value": "https://records.interop.example"})
    refused(JoseError, lambda: other_audience.validate(token.claims))
    refused(JoseError, lambda: jwt.decode(read("task.jwt"), keys, algorithms=["RS256"]))
    print("joserfc: the task token verifies against the published keys")


def pyjwt_reads_an_svid(metadata: dict) -> None:
    # Keys of a SPIFFE bundle have the use `jwt-svid`, as the standard wants it; PyJWT lets that be.
    keys = pyjwt.PyJWKSet.from_json(fetch(metadata["spiffe_bundle_endpoint"]).decode())
    svid = read("retriever.svid")
    key = keys[pyjwt.get_unverified_header(svid)["kid"]]
    claims = pyjwt.decode(svid, key, algorithms=["ES256"], audience=ISSUER, issuer=ISSUER)
    assert claims["sub"] == f"spiffe://{DOMAIN}/agent/retriever"
    elsewhere = {"algorithms": ["ES256"], "audience": "https://elsewhere.example"}
    refused(pyjwt.InvalidAudienceError, lambda: pyjwt.decode(svid, key, **elsewhere))
    refused(KeyError, lambda: keys[pyjwt.get_unverified_header(read("task.jwt"))["kid"]])
    print("PyJWT: the JWT-SVID verifies against the keys of the SPIFFE bundle endpoint")


def spiffe_validates_an_svid(metadata: dict) -> None:
    bundle = JwtBundle.parse(TrustDomain(DOMAIN), fetch(metadata["spiffe_bundle_endpoint"]))
    audience = "https://elsewhere.example"
    svid = JwtSvid.parse_and_validate(read("federated.svid"), bundle, {audience})
    assert str(svid.spiffe_id) == f"spiffe://{DOMAIN}/agent/retriever"
    refused(PySpiffeError, lambda: JwtSvid.parse_and_validate(read("federated.svid"), bundle, {"https://other"}))
    refused(PySpiffeError, lambda: JwtSvid.parse_and_validate(read("access.jwt"), bundle, {audience}))
    print("spiffe: the trust domain's bundle parses, and the JWT-SVID validates against it")


if __name__ == "__main__":
    published = json.loads(fetch(f"{ISSUER}/.well-known/oauth-authorization-server"))
    joserfc_reads_a_task_token(published)
    pyjwt_reads_an_svid(published)
    spiffe_validates_an_svid(published)
