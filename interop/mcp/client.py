"""The official Python client, unchanged, in both generations. Prints what it got as JSON.

usage: client.py URL [HEADER-FILE]    (see header_file.mjs)
"""

import asyncio
import json
import sys
from pathlib import Path

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp.types import ElicitResult


def word(text):
    return Path(text[1:]).read_text().strip() if text.startswith("@") else text


class Headers(httpx2.Auth):
    """of each request, not of the client: tokens live minutes."""

    def __init__(self, file):
        self.file = file

    def auth_flow(self, request):
        for line in Path(self.file).read_text().splitlines() if self.file else []:
            name, _, value = line.partition(":")
            request.headers[name.strip()] = " ".join(map(word, value.strip().split(" ")))
        yield request


async def answer(context, params):
    return ElicitResult(action="accept", content={"username": "alice", "email": "alice@acme.example"})


async def tried(work):
    try:
        result = await work
    except Exception as error:  # what a client makes of an answer that it did not expect is what is asked here
        return failed(error)
    return result.model_dump(mode="json", by_alias=True, exclude_none=True)


def failed(error):
    if isinstance(error, MCPError):
        return {"error": type(error).__name__, "code": error.error.code, "message": error.error.message}
    return {"error": type(error).__name__, "message": repr(error)}


async def drive(url, file, mode):
    timeout = httpx2.Timeout(30, read=300)
    async with httpx2.AsyncClient(auth=Headers(file), timeout=timeout) as http:
        transport = streamable_http_client(url, http_client=http)
        async with Client(transport, mode=mode, elicitation_callback=answer) as client:
            tools = await tried(client.list_tools())
            return {
                "revision": client.protocol_version,
                "tools": [tool["name"] for tool in tools["tools"]] if "tools" in tools else tools,
                "call": await tried(client.call_tool("test_simple_text", {})),
                "asked": await tried(client.call_tool("test_elicitation", {"message": "Who are you?"})),
                "read": await tried(client.read_resource("test://static-text")),
                "prompt": await tried(client.get_prompt("test_prompt_with_arguments", {"arg1": "a", "arg2": "b"})),
            }


async def main(url, file=None):
    said = {}
    for mode in ("2026-07-28", "auto", "legacy"):
        try:
            said[f"mcp 2.3.0, {mode}"] = await drive(url, file, mode)
        except Exception as error:
            said[f"mcp 2.3.0, {mode}"] = {"connect": failed(error)}
    print(json.dumps(said, indent=1))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
