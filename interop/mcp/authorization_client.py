"""What the official Python client's OAuth helpers make of the gateway's challenge and of the metadata that it leads to:
each gets to the token endpoint, and learns there that the authority has not its grant.

usage: authorization_client.py URL ISSUER    URL is the server's endpoint at the gateway
"""

import asyncio
import logging
import sys

import httpx2
from mcp.client.auth import OAuthFlowError, OAuthTokenError
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider, PrivateKeyJWTOAuthProvider
from mcp.client.auth.extensions.identity_assertion import IdentityAssertionOAuthProvider

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
ACCEPT = {"accept": "application/json, text/event-stream"}


async def assertion(*_):
    return "none"


class Nowhere:
    """Storage of tokens, which are none."""

    async def get_tokens(self):
        return None

    async def get_client_info(self):
        return None


async def main(url, issuer):
    given = {"server_url": url, "storage": Nowhere(), "client_id": "mandate-interop", "issuer": issuer}
    where = httpx2.URL(url)
    resource = ["GET", str(where.copy_with(path=f"/.well-known/oauth-protected-resource{where.path}"))]
    server = [["GET", f"{issuer}/.well-known/oauth-authorization-server"], ["POST", f"{issuer}/token"]]
    # The third is told the authorization server, and does not ask the resource for it.
    for provider, discovery in [
        (ClientCredentialsOAuthProvider(**given, client_secret="none"), [resource, *server]),
        (PrivateKeyJWTOAuthProvider(**given, assertion_provider=assertion), [resource, *server]),
        (IdentityAssertionOAuthProvider(**given, client_secret="none", assertion_provider=assertion), server),
    ]:
        requests, error = await asked(url, provider)
        assert requests == [["POST", url], *discovery], requests
        assert isinstance(error, OAuthTokenError) and "unsupported_grant_type" in str(error), repr(error)
    print("official python client: challenge and metadata; its helpers for other grants are refused")


async def asked(url, provider):
    requests = []

    async def note(request):
        requests.append([request.method, str(request.url)])

    async with httpx2.AsyncClient(auth=provider, event_hooks={"request": [note]}) as http:
        try:
            answer = await http.post(url, json=PING, headers=ACCEPT)
        except OAuthFlowError as error:
            return requests, error
    raise AssertionError(f"nobody could have got a token for this: {answer.status_code}")


if __name__ == "__main__":
    logging.disable()
    asyncio.run(main(*sys.argv[1:]))
