"""Units come from the catalog, the user's own included."""

from __future__ import annotations

from pathlib import Path

import pytest

from datadog_checks.model_serving.workstation.standin.units import unit_of

OWN = """
system: acme
recognise: {any: [acme_*]}
metrics:
  - {raw: acme_fuel, type: gauge, to: acme.fuel}
own_metrics:
  acme.fuel: {type: gauge, unit: byte, description: Fuel left.}
"""


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("model_serving.request.latency", "second"),
        ("model_serving.request.latency.sum", "second"),
        ("model_serving.request.count", "request"),
        ("model_serving.nothing.known", None),
        ("system.cpu.user", None),
    ],
)
def test_units_of_the_vocabulary(name: str, unit: str | None) -> None:
    assert unit_of(name) == unit


def test_units_of_an_own_catalog(tmp_path: Path) -> None:
    path = tmp_path / "acme.yaml"
    path.write_text(OWN)
    assert unit_of("model_serving.acme.fuel") is None
    assert unit_of("model_serving.acme.fuel", (str(path),)) == "byte"


def test_a_wrong_own_catalog_leaves_the_shipped_one(tmp_path: Path) -> None:
    assert unit_of("model_serving.request.count", (str(tmp_path / "none.yaml"),)) == "request"
