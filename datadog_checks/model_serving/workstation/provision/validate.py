"""Has Datadog check monitors, without making them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from ...errors import ProvisionError, Refused
from ...http.redact import printable
from .api import DUPLICATES, Client
from .apply import DUPLICATE, Outcome, Result, Told, without_missing_data
from .model import Resource
from .normalise import type_change
from .plan import Action, Plan, Step
from .specification import violation
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
    return _validated(client, steps, ids, told)


def refusals(client: Client, plan: Plan, told: Told = lambda outcome: None) -> list[Outcome]:
    """What would be refused of a plan, before anything of it is carried out: each monitor by the API's own check, and
    what that can't see by the specification. A twin, and a form of missing data that the account doesn't take, are
    none: `apply` knows what to do about them. One that could not be checked is FAILED.
    """
    steps = plan.having(Action.CREATE, Action.CHANGE, Action.REPLACE)
    ids = {
        step.address: step.found[0].id
        for step in plan.having(Action.UNCHANGED, Action.CHANGE)
        if step.found and step.resource
    }
    outcomes = _validated(client, [step for step in steps if step.kind == "monitor"], ids, told)
    found = [one for one in outcomes if one.result in (Result.REFUSED, Result.FAILED) and not _is_twin(one)]
    unseen = [one.step for one in outcomes if one.result is Result.SKIPPED]
    for step in (*unseen, *(step for step in steps if step.kind != "monitor")):
        if step.resource is not None and (wrong := violation(step.resource)):
            found.append(Outcome(step, Result.REFUSED, wrong))
    return sorted(found, key=lambda one: one.step.address)


def refusal_text(outcomes: Iterable[Outcome]) -> str:
    """All of them, for an error."""
    found = list(outcomes)
    refused = [one for one in found if one.result is Result.REFUSED]
    lines = ["nothing was written:"]
    for one in found:
        what = "would be refused" if one in refused else "could not be checked"
        lines.append(printable(f"  {one.step.address} {what}: {one.text}"))
    if refused:
        lines.append("Mend what your files say of these, or leave them out with `enabled: false` in the values file.")
    return "\n".join(lines)


def _is_twin(outcome: Outcome) -> bool:
    return bool(DUPLICATES.search(outcome.text) or DUPLICATE.search(outcome.text))


def _validated(client: Client, steps: Iterable[Step], ids: Mapping[str, str], told: Told) -> list[Outcome]:
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


def _validate(client: Client, step: Step, ids: Mapping[str, str]) -> Outcome:
    resource = step.resource
    assert resource is not None
    missing = sorted(resource.references() - set(ids))
    if missing:
        return Outcome(step, Result.SKIPPED, f"needs the id of {', '.join(missing)}; apply first")
    body = request_body(resource, ids)
    try:
        try:
            _ask(client, step, body)
        except Refused as error:
            older = without_missing_data("monitor", body, error)
            if older is None:
                raise
            _ask(client, step, older)
    except Refused as error:
        # Of the refusals this one is about the monitor, and so is that of the client itself, which has no status.
        about_it = error.status in (None, 400)
        return Outcome(step, Result.REFUSED if about_it else Result.FAILED, str(error))
    except ProvisionError as error:
        return Outcome(step, Result.FAILED, str(error))
    return Outcome(step, Result.DONE)


def _ask(client: Client, step: Step, body: Mapping[str, Any]) -> None:
    if step.action is Action.CHANGE:
        client.call(client.monitors.validate_existing_monitor, monitor_id=int(step.found[0].id), body=body)
    else:
        client.call(client.monitors.validate_monitor, body=body)
