"""The official Python client, unchanged, at any server: as use.mjs.

usage: use.py URL [HEADER-FILE]    (see header_file.mjs)
"""

import asyncio
import json
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from client import Headers, tried


async def use(url, file, calls):
    async with httpx2.AsyncClient(auth=Headers(file), timeout=httpx2.Timeout(30, read=300)) as http:
        async with Client(streamable_http_client(url, http_client=http)) as client:
            tools = [tool.name for tool in (await client.list_tools()).tools]
            results = [await tried(client.call_tool(call["name"], call["arguments"], meta=call.get("_meta"))) for call in calls]
            return {"tools": tools, "results": results}


if __name__ == "__main__":
    url, file = (*sys.argv[1:], None)[:2]
    print(json.dumps({"mcp 2.3.0": asyncio.run(use(url, file, json.load(sys.stdin)))}))
