"""A client in Python, unchanged: authlib runs open, delegate and access as token exchanges (RFC 8693), uses the
access token through the gateway, introspects and revokes it."""

import json
import os
from pathlib import Path
from urllib.parse import urlencode

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session

FOLDER = Path(os.environ["INTEROP_FOLDER"])
ENDPOINTS = json.loads((Path(os.environ["MANDATE_DATA"]) / "run/endpoints.json").read_text())
METADATA = requests.get(f"{ENDPOINTS['issuer']}/.well-known/oauth-authorization-server", timeout=10).json()
DOMAIN = f"spiffe://{ENDPOINTS['trust_domain']}"
RESOURCE = "https://records.interop.example"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
TYPE = "urn:ietf:params:oauth:token-type:"
JWT_SPIFFE = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"


def client(agent: str) -> OAuth2Session:
    """Its authentication is the library's own hook for methods that it does not know."""
    svid = (FOLDER / f"{agent}.svid").read_text().strip()

    def authenticate(_auth, _method, uri, headers, body):
        assertion = urlencode({"client_assertion_type": JWT_SPIFFE, "client_assertion": svid})
        return uri, headers, f"{body}&{assertion}"

    session = OAuth2Session(
        client_id=f"{DOMAIN}/agent/{agent}",
        token_endpoint_auth_method="jwt_spiffe",
        revocation_endpoint_auth_method="jwt_spiffe",
    )
    session.register_client_auth_method(("jwt_spiffe", authenticate))
    return session


def exchange(session: OAuth2Session, **parameters) -> dict:
    return session.fetch_token(METADATA["token_endpoint"], grant_type=EXCHANGE, **parameters)


def login(user: str, claims: dict) -> str:
    answer = requests.post(
        f"http://{ENDPOINTS['dev_issuer']}/login", json={"user": user, "claims": claims}, timeout=10
    )
    answer.raise_for_status()
    return answer.json()["id_token"]


def mandate(customer: str) -> str:
    entry = {"type": "mandate_access", "server": "records", "actions": ["read"]}
    return json.dumps([entry | {"constraints": {"customer": {"in": [customer]}}}])


def open_and_delegate() -> str:
    orchestrator = client("orchestrator")
    root = exchange(
        orchestrator,
        subject_token=login("bob", {"groups": ["support"], "tenant": "acme"}),
        subject_token_type=f"{TYPE}id_token",
        requested_token_type=f"{TYPE}txn_token",
        audience=DOMAIN,
        request_details=json.dumps({"purpose": "support-case", "expires_in": 300}),
    )
    assert root["issued_token_type"] == f"{TYPE}txn_token"
    delegation = {
        "subject_token": root["access_token"],
        "subject_token_type": f"{TYPE}txn_token",
        "requested_token_type": f"{TYPE}txn_token",
        "audience": DOMAIN,
        "requested_actor": f"{DOMAIN}/agent/retriever",
    }
    try:
        exchange(orchestrator, **delegation, authorization_details=mandate("globex"))
        raise AssertionError("a wider mandate was handed on")
    except OAuthError as refusal:
        assert refusal.error == "invalid_authorization_details", refusal
    return exchange(orchestrator, **delegation, authorization_details=mandate("acme"))["access_token"]


def access(task: str) -> None:
    retriever = client("retriever")
    token = exchange(
        retriever, subject_token=task, subject_token_type=f"{TYPE}txn_token", resource=RESOURCE
    )
    assert token["issued_token_type"] == f"{TYPE}access_token"
    assert 0 < token["expires_in"] <= 120
    # The session sends its token by itself.
    answer = retriever.get(f"http://{ENDPOINTS['gateway']}/records/customers/acme", timeout=10)
    assert (answer.status_code, answer.json()["customer"]) == (200, "acme"), answer.text
    spent = token["access_token"]
    alive = retriever.introspect_token(METADATA["introspection_endpoint"], token=spent)
    assert alive.json()["client_id"] == f"{DOMAIN}/agent/retriever", alive.text
    retriever.revoke_token(METADATA["revocation_endpoint"], token=spent).raise_for_status()
    dead = retriever.introspect_token(METADATA["introspection_endpoint"], token=spent)
    assert dead.json() == {"active": False}, dead.text
    print("authlib: open, delegate, access, gateway, introspection, revocation")


if __name__ == "__main__":
    access(open_and_delegate())
