"""Two models that take as long as they are told: `serve.py HTTP GRPC METRICS`."""

import sys
import time
from typing import Any

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

HTTP, GRPC, METRICS = map(int, sys.argv[1:])


@batch
def scorer(seconds: Any) -> dict[str, Any]:
    if (seconds < 0).any():
        raise RuntimeError("the model failed")
    time.sleep(float(seconds.max()))
    return {"taken": seconds.astype(np.float32)}


config = TritonConfig(
    http_address="127.0.0.1",
    http_port=HTTP,
    grpc_address="127.0.0.1",
    grpc_port=GRPC,
    metrics_port=METRICS,
    allow_metrics=True,
)
with Triton(config=config) as triton:
    for name in ("scorer", "canary"):
        triton.bind(
            name,
            scorer,
            inputs=[Tensor(name="seconds", dtype=np.float32, shape=(1,))],
            outputs=[Tensor(name="taken", dtype=np.float32, shape=(1,))],
            config=ModelConfig(batching=True, max_batch_size=1),
        )
    triton.serve()
