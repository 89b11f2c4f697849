"""A role of AWS attests itself: asks for a challenge, signs a request, exchanges it for a JWT-SVID.

Needs botocore alone. `attest(token_endpoint, credentials, region)` is all that an agent does.
"""

import json
import urllib.parse
import urllib.request

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

BODY = "Action=GetCallerIdentity&Version=2011-06-15"


def attest(issuer, credentials, region, at=None):
    """The answer of the token endpoint. `at` is where the authority is, if not at its issuer."""
    at = (at or issuer).rstrip("/")
    challenge = post(f"{at}/attestation-challenge", {})["attestation_challenge"]
    return exchange(at, signed(issuer, credentials, region, challenge))


def signed(issuer, credentials, region, challenge):
    """The headers of a request that botocore signed, as the authority wants them."""
    request = AWSRequest("POST", f"https://sts.{region}.amazonaws.com/", data=BODY, headers={
        "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
        "X-Mandate-Audience": issuer,
        "X-Mandate-Challenge": challenge,
    })
    SigV4Auth(credentials, "sts", region).add_auth(request)
    headers = {name.lower(): value for name, value in request.headers.items()}
    # The authority says itself whom the request is for.
    del headers["x-mandate-audience"]
    return headers


def exchange(at, headers):
    return post(f"{at}/token", {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token_type": "urn:mandate:token-type:aws-request",
        "subject_token": json.dumps({"headers": headers}),
    })


def post(url, form):
    with urllib.request.urlopen(url, urllib.parse.urlencode(form).encode(), timeout=20) as answer:
        return json.load(answer)
