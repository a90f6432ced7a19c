"""An OpenAI-like worker behind routers and gateways: `worker.py PORT`.

The last message says what it does: a number is the seconds to take, `boom` a failure, `limit` a refusal.
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = {"id": "tiny", "object": "model", "owned_by": "vllm", "created": 1, "max_model_len": 2048}
USAGE = {"prompt_tokens": 12, "completion_tokens": 6, "total_tokens": 18}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, body: dict[str, Any]) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.send_header("x-ratelimit-remaining-requests", "99")
        self.send_header("x-ratelimit-remaining-tokens", "99999")
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self) -> None:
        if "model" in self.path or "info" in self.path:
            more = {"model_path": "tiny", "tokenizer_path": "", "is_generation": True}
            self.answer(200, {"object": "list", "data": [MODEL], **more})
        else:
            self.answer(200, {"status": "ok", "model_path": "tiny", "version": "0.11.0"})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = asked["messages"][-1]["content"] if "messages" in asked else "0"
        if text == "boom":
            self.answer(500, {"error": {"message": "the worker failed", "type": "server_error"}})
            return
        if text == "limit":
            self.answer(429, {"error": {"message": "rate limited", "type": "rate_limit"}})
            return
        time.sleep(float(text))
        shared = {"id": "c1", "created": 1, "model": asked["model"]}
        if asked.get("stream"):
            self.stream(shared)
            return
        message = {"role": "assistant", "content": "hello " * 5}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        self.answer(200, {**shared, "object": "chat.completion", "choices": choices, "usage": USAGE})

    def stream(self, shared: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for index in range(5):
            choice = {"index": 0, "delta": {"content": f"tok{index} "}, "finish_reason": None if index < 4 else "stop"}
            chunk = {**shared, "object": "chat.completion.chunk", "choices": [choice]}
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
            self.wfile.flush()
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
