"""A model that takes as long as it is told, on the loopback interface alone: `server.py PORT`."""

import asyncio
import sys
from typing import Any

import uvicorn

# KServe asks for every interface.
bound = uvicorn.Config.__init__


def loopback(self: Any, *args: Any, **options: Any) -> None:
    bound(self, *args, **{**options, "host": "127.0.0.1"})


uvicorn.Config.__init__ = loopback

import kserve  # noqa: E402
from kserve.errors import InvalidInput  # noqa: E402


class Scorer(kserve.Model):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.ready = True

    async def predict(self, payload: Any, headers: Any = None, **_: Any) -> dict[str, Any]:
        seconds = float(payload["instances"][0])
        if seconds == -1:
            raise InvalidInput("a negative time")
        if seconds == -2:
            raise RuntimeError("the model failed")
        await asyncio.sleep(seconds)
        return {"predictions": [seconds]}


kserve.ModelServer(http_port=int(sys.argv[1]), workers=1, enable_grpc=False).start([Scorer("scorer"), Scorer("canary")])
