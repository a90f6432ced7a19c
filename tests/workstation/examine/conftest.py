"""The base package is imported first, with its stubs: the stand-in must leave the other tests as it found them."""

from __future__ import annotations

import datadog_checks.base.checks.openmetrics.v2.base  # noqa: F401
