"""A model that answers after the delay it is asked for, or fails as asked.

The first number of the input is the delay in seconds; a negative one asks for a failure.
"""

import asyncio

import mlserver  # type: ignore[import-not-found]
from mlserver.errors import InferenceError  # type: ignore[import-not-found]
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput  # type: ignore[import-not-found]


class Credit(mlserver.MLModel):  # type: ignore[misc]
    async def load(self) -> bool:
        mlserver.register("credit_points", "Points given to an applicant")
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        delay = float(payload.inputs[0].data[0])
        if delay <= -2:
            raise ZeroDivisionError("asked to break")
        if delay < 0:
            raise InferenceError("asked to refuse")
        await asyncio.sleep(delay)
        mlserver.log(credit_points=delay)
        answer = ResponseOutput(name="points", datatype="FP64", shape=[1], data=[delay])
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=[answer])
