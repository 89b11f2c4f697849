"""The official client, unchanged, in both versions of the protocol. Prints what it got as JSON.

usage: client.py URL ACCESS-TOKEN TASK-TOKEN-FILE
"""

import asyncio
import json
import sys
from pathlib import Path

import httpx
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.helpers.proto_helpers import get_stream_response_text, new_text_message
from a2a.types import Role, SendMessageRequest


async def ask(card, headers, streaming, customer):
    async with httpx.AsyncClient(headers=headers, timeout=30) as http:
        client = ClientFactory(ClientConfig(streaming=streaming, httpx_client=http)).create(card)
        message = new_text_message("Hello", role=Role.ROLE_USER)
        message.metadata.update({"customer": customer})
        try:
            texts = [get_stream_response_text(event) async for event in client.send_message(SendMessageRequest(message=message))]
        except Exception as error:  # what a client makes of a denial is what is asked here
            return {"error": type(error).__name__, "message": str(error)}
        return [json.loads(text) for text in texts]


async def main(url, access, task):
    headers = {"Authorization": f"Bearer {access}"}
    handing = {**headers, "Txn-Token": Path(task).read_text().strip()}
    async with httpx.AsyncClient(headers=headers) as http:
        card = await A2ACardResolver(http, url).get_agent_card()
    said = {}
    for version in ("1.0", "0.3"):
        card.supported_interfaces[0].protocol_version = version
        said[version] = {
            "whole": await ask(card, headers, False, "acme"),
            "streamed": await ask(card, headers, True, "acme"),
            "with its task": await ask(card, handing, False, "acme"),
            "denied": await ask(card, headers, False, "globex"),
            "denied, streamed": await ask(card, headers, True, "globex"),
        }
    print(json.dumps(said))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
