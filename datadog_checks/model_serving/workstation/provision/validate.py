"""Has Datadog check monitors, without making them."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed

from ...errors import ProvisionError, Refused
from .api import Client
from .apply import Outcome, Result, Told
from .model import Resource
from .normalise import type_change
from .plan import Action, Step
from .state import Account
from .writes import request_body


def validate_monitors(
    client: Client, resources: Iterable[Resource], account: Account, told: Told = lambda outcome: None
) -> list[Outcome]:
    """Send every monitor among marked resources to the API's own check. One that the account has, if only in a stack
    to take over from, is checked as a change of that, for it would be refused as a twin of itself. One that holds the
    id of something that isn't there yet can't be checked and is skipped.
    """
    ids = {address: found.id for address, found in account.others.items()}
    ids |= {address: found[0].id for address, found in account.owned.items()}
    steps = [_step(resource, account) for resource in resources if resource.kind == "monitor"]
    outcomes = []
    with ThreadPoolExecutor(client.parallel) as pool:
        futures = [pool.submit(_validate, client, step, ids) for step in steps]
        try:
            for future in as_completed(futures):
                outcomes.append(future.result())
                told(outcomes[-1])
        except KeyboardInterrupt:
            client.stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    return outcomes


def _step(resource: Resource, account: Account) -> Step:
    found = account.get(resource.address) or account.others.get(resource.address)
    if found is None or type_change("monitor", resource.body, found.body):
        return Step(Action.CREATE, resource.address, resource)
    return Step(Action.CHANGE, resource.address, resource, (found,))


def _validate(client: Client, step: Step, ids: dict[str, str]) -> Outcome:
    resource = step.resource
    assert resource is not None
    missing = sorted(resource.references() - set(ids))
    if missing:
        return Outcome(step, Result.SKIPPED, f"needs the id of {', '.join(missing)}; apply first")
    body = request_body(resource, ids)
    try:
        if step.found:
            identity = int(step.found[0].id)
            client.call(client.monitors.validate_existing_monitor, monitor_id=identity, body=body)
        else:
            client.call(client.monitors.validate_monitor, body=body)
    except Refused as error:
        # Of the refusals this one is about the monitor, and so is that of the client itself, which has no status.
        about_it = error.status in (None, 400)
        return Outcome(step, Result.REFUSED if about_it else Result.FAILED, str(error))
    except ProvisionError as error:
        return Outcome(step, Result.FAILED, str(error))
    return Outcome(step, Result.DONE)
