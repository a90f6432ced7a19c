"""Load the check as the Agent's Python loader does, run it once, and print what it submitted as JSON.

A script, not a module: it runs in a Python that knows nothing of the source tree. Its one argument is a JSON object
with `instance`, and `checks_d` where the check is a drop-in. The builtin modules of the Agent are those that
datadog-checks-base brings for tests; the Agent itself cannot be had here.
"""

import importlib
import inspect
import json
import logging
import sys

# The Agent ships none of these. None makes an import fail as it fails there.
ABSENT_FROM_AGENT = ("click", "rich", "datadog_api_client", "pynvml", "grpc")


def main():
    job = json.loads(sys.argv[1])
    for name in ABSENT_FROM_AGENT:
        sys.modules[name] = None
    if job.get("checks_d"):
        # Behind site-packages: an installed wheel wins over a drop-in.
        sys.path.append(job["checks_d"])

    from datadog_checks.base import AgentCheck
    from datadog_checks.base.stubs import aggregator

    log = Log()
    logging.getLogger().addHandler(log)
    module = importlib.import_module("datadog_checks.model_serving")
    result = {"file": module.__file__, "log": log.lines}
    check_class = first_leaf(module, AgentCheck)
    if check_class is None:
        print(json.dumps({**result, "error": "no check class"}))
        return
    result["class"] = check_class.__name__
    try:
        check = check_class(name="model_serving", init_config={}, instances=(job["instance"],))
        check.check_id = "model_serving:1234"
        failure = check.run()
    except Exception as error:
        print(json.dumps({**result, "error": str(error)}))
        return
    model = check._config_model_instance
    result.update(
        version=check.check_version,
        error=json.loads(failure)[0]["message"] if failure else None,
        config_model=type(model).__module__,
        modules=sorted(name for name in sys.modules if name.startswith("datadog_checks.model_serving.")),
        metrics=[
            {"name": name, "value": sample.value, "tags": sample.tags}
            for name in aggregator.metric_names
            for sample in aggregator.metrics(name)
        ],
        service_checks={
            name: [sample.status for sample in aggregator.service_checks(name)]
            for name in aggregator.service_check_names
        },
    )
    print(json.dumps(result))


class Log(logging.Handler):
    """What the Agent's log would show of errors, traceback included."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.lines = []

    def emit(self, record):
        self.lines.append(self.format(record))


def first_leaf(module, base):
    """Return the first class in the module, by name, that is a check and that no other check is made from, or None.

    An attribute that raises is passed over without a word, as in the Agent.
    """
    for name in sorted(dir(module)):
        try:
            found = getattr(module, name)
        except Exception:
            continue
        if inspect.isclass(found) and issubclass(found, base) and found is not base and not found.__subclasses__():
            return found
    return None


if __name__ == "__main__":
    main()
