"""A model that takes as long as it is told."""

import time
from typing import Any


class Scorer:
    def initialize(self, context: Any) -> None:
        self.context = context
        self.initialized = True

    def handle(self, data: Any, context: Any) -> list[Any]:
        answers = []
        for row in data:
            body = row.get("body") or row.get("data")
            seconds = float(body["seconds"])
            if seconds < 0:
                raise ValueError("a negative time")
            time.sleep(seconds)
            answers.append({"seconds": seconds})
        return answers
