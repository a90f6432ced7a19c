"""A model that takes as long as it is told."""

import time

import bentoml


@bentoml.service(name="scorer", workers=2, traffic={"timeout": 30})
class Scorer:
    @bentoml.api
    def predict(self, seconds: float) -> float:
        if seconds == -1:
            raise bentoml.exceptions.InvalidArgument("a negative time")
        if seconds == -2:
            raise RuntimeError("the model failed")
        time.sleep(seconds)
        return seconds
