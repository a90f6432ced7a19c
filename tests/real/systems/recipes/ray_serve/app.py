"""Deploys a model that takes as long as it is told, and says so at a port: `app.py HTTP READY`."""

import asyncio
import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import ray
from ray import serve
from starlette.requests import Request

HTTP, READY = map(int, sys.argv[1:])


@serve.deployment(num_replicas=1, max_ongoing_requests=16, ray_actor_options={"num_cpus": 0.1})
class Scorer:
    async def __call__(self, request: Request) -> dict[str, Any]:
        seconds = float((await request.json())["seconds"])
        if seconds < 0:
            raise RuntimeError("the model failed")
        await asyncio.sleep(seconds)
        return {"seconds": seconds}


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()


ray.init(address=os.environ["RAY_ADDRESS"], namespace="test")
serve.start(http_options={"host": "127.0.0.1", "port": HTTP})
serve.run(Scorer.bind(), name="scoring", route_prefix="/scorer")
HTTPServer(("127.0.0.1", READY), Answer).serve_forever()
