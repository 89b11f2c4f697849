"""An LLM endpoint of both shapes, which answers with the replies of `vectors/llm` to whoever has the key.

usage: upstream.py KEY    (prints where it listens)
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "llm"
# Path, and whether a stream is asked for; a reply that says its usage only when asked has two.
REPLIES = {
    ("/v1/chat/completions", False): "openai-chat.json",
    ("/v1/chat/completions", True): "openai-chat-without-usage.sse",
    ("/v1/responses", False): "openai-response.json",
    ("/v1/responses", True): "openai-response-completed.sse",
    ("/v1/embeddings", False): "openai-embeddings.json",
    ("/v1/messages", False): "anthropic-message.json",
    ("/v1/messages", True): "anthropic-message.sse",
}


class Model(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        keys = [self.headers.get("X-Api-Key"), (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None]
        if sorted(filter(None, keys)) != [KEY]:
            return self.answer(401, "application/json", [b'{"error": {"type": "authentication_error", "message": "another key"}}'])
        name = REPLIES[self.path, asked.get("stream", False)]
        if (asked.get("stream_options") or {}).get("include_usage"):
            name = "openai-chat.sse"
        reply = (VECTORS / name).read_bytes()
        if name.endswith(".json"):
            return self.answer(200, "application/json", [reply])
        # Each event on its own, as a model writes.
        events = [event + b"\n\n" for event in reply.split(b"\n\n") if event]
        self.answer(200, "text/event-stream; charset=utf-8", events)

    def answer(self, status, media_type, pieces):
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in pieces:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    KEY = sys.argv[1]
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    print(f"listening on 127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
