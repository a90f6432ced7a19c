"""A workspace with synthetic endpoints in a process of its own, to measure a check against."""

from __future__ import annotations

import json
import secrets
import sys
import time

import click

from .endpoints import PAY_PER_TOKEN, Export
from .workspace import SimulatedWorkspace, minute_page, serve_workspace

MINUTE_MS = 60_000


def minutes(name: str, number: int, minute_seconds: float) -> Export:
    """Return an export of one finished minute after the other, one every `minute_seconds`.

    The minutes are those of the clock if they take 60 seconds. Every minute has between 60 and 179 requests.
    """
    began = time.time()
    first = int(began // 60)
    offset = began % 60 if minute_seconds == 60 else 0.0
    shown: tuple[int, str] = -1, ""

    def export() -> str:
        nonlocal shown
        passed = int((time.time() - began + offset) // minute_seconds)
        if shown[0] != passed:
            requests = 60 + (number * 7 + passed * 13) % 120
            latencies = (20.0 + number % 50, 45.0, 90.0, 400.0)
            start = (first + passed - 1) * MINUTE_MS
            text = minute_page(name, start, requests, errors_4xx=requests // 40, latencies_ms=latencies)
            shown = passed, text
        return shown[1]

    return export


@click.command()
@click.option("--endpoints", type=click.IntRange(min=0), default=20, show_default=True)
@click.option("--hosted", type=click.IntRange(min=0), default=0, show_default=True, help="Pay-per-token endpoints.")
@click.option("--latency", type=click.FloatRange(min=0), default=0.0, show_default=True, help="Seconds per answer.")
@click.option(
    "--minute-seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds until the next minute is exported.",
)
@click.option("--token-seconds", type=click.FloatRange(min=0, min_open=True), default=3600.0, show_default=True)
def serve(endpoints: int, hosted: int, latency: float, minute_seconds: float, token_seconds: float) -> None:
    """Serve a workspace until stdin closes.

    Prints a line of JSON with url, ca, token, client_id and client_secret; and, for every line `stats` on stdin, one
    with connections_opened, open_connections, calls and concurrent_peak.
    """
    workspace = SimulatedWorkspace(token_seconds, latency)
    token, client, secret = secrets.token_urlsafe(24), secrets.token_hex(8), secrets.token_urlsafe(24)
    workspace.personal_tokens.add(token)
    workspace.clients[client] = secret
    for number in range(endpoints):
        name = f"endpoint-{number:04}"
        workspace.add(name, export=minutes(name, number, minute_seconds))
    for number in range(hosted):
        workspace.add(f"databricks-model-{number:03}", kind=PAY_PER_TOKEN)
    with serve_workspace(workspace) as served:
        _say(url=served.url, ca=served.ca, token=token, client_id=client, client_secret=secret)
        for line in sys.stdin:
            if line.strip() == "stats":
                _say(
                    connections_opened=workspace.connections_opened,
                    open_connections=workspace.open_connections,
                    calls=len(workspace.calls),
                    concurrent_peak=workspace.concurrent_peak,
                )


def _say(**values: object) -> None:
    click.echo(json.dumps(values))


if __name__ == "__main__":
    serve()
