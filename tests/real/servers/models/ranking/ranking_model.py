"""A model served with adaptive batching; every row of the batch costs nothing extra."""

import asyncio

from mlserver import MLModel  # type: ignore[import-not-found]
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput  # type: ignore[import-not-found]


class Ranking(MLModel):  # type: ignore[misc]
    async def load(self) -> bool:
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = payload.inputs[0].shape[0]
        await asyncio.sleep(0.02)
        answer = ResponseOutput(name="order", datatype="INT64", shape=[rows, 1], data=list(range(rows)))
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=[answer])
