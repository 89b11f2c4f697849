"""An agent on the official SDK that others call. It says who called it, by the token that the gateway brings, and reads
a record with the task that the caller handed it.

usage: called.py URL PROGRAM RECORD    URL is its address at the gateway, PROGRAM how it is attested, RECORD what it reads
"""

import asyncio
import base64
import json
import os
import socket
import sys
import tempfile

import httpx
import uvicorn
from a2a.helpers.proto_helpers import new_text_message
from a2a.server.agent_execution import AgentExecutor
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill, Role
from starlette.applications import Starlette


def claims(token):
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


async def read_record(task):
    """What it may read of the records, as the agent that it is, in the task that it was handed."""
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(task)
        file.flush()
        command = [PROGRAM, "token", "https://records.interop.example", "--task", file.name]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        access, _ = await process.communicate()
    async with httpx.AsyncClient() as http:
        return (await http.get(RECORD, headers={"Authorization": f"Bearer {access.decode().strip()}"})).text


class Called(AgentExecutor):
    async def execute(self, context, event_queue):
        headers = context.call_context.state["headers"]
        said = claims(headers["authorization"].removeprefix("Bearer "))
        answer = {"caller": said["client_id"], "for": said["sub"], "audience": said["aud"]}
        if "txn-token" in headers:
            answer["record"] = await read_record(headers["txn-token"])
        await event_queue.enqueue_event(new_text_message(json.dumps(answer), role=Role.ROLE_AGENT))

    async def cancel(self, context, event_queue):
        raise NotImplementedError


def main(url):
    card = AgentCard(name="helper", description="Helps.", version="1.0.0",
                     capabilities=AgentCapabilities(streaming=True),
                     default_input_modes=["text/plain"], default_output_modes=["text/plain"],
                     skills=[AgentSkill(id="help", name="help", description="Helps.", tags=["help"])],
                     supported_interfaces=[AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version="1.0")])
    handler = DefaultRequestHandler(Called(), InMemoryTaskStore(), card)
    routes = create_agent_card_routes(card) + create_jsonrpc_routes(handler, "/", enable_v0_3_compat=True)
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"listening on 127.0.0.1:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_level="warning")).run(sockets=[listener])


if __name__ == "__main__":
    url, PROGRAM, RECORD = sys.argv[1:]
    os.chdir("/")
    main(url)
