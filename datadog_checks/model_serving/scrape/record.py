"""A check that writes down what the stock code submits, for values that only know the sample they stand for."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

from .program import BUCKET, MULTIPLE, Program


class NotReplayable(Exception):
    """The stock code looked into a value, or did something that a program can't repeat."""


def _refuse(*_: Any) -> NoReturn:
    raise NotReplayable


class Symbol(float):
    """A value that stands for sample `index`, or with `minus` for the difference of two samples."""

    __slots__ = ("index", "minus")
    index: int
    minus: int

    @classmethod
    def of(cls, index: int, minus: int = -1) -> Symbol:
        symbol = cls.__new__(cls, 1.0)
        symbol.index, symbol.minus = index, minus
        return symbol

    def __sub__(self, other: object) -> Symbol:
        if isinstance(other, Symbol) and self.minus < 0 and other.minus < 0:
            return Symbol.of(self.index, other.index)
        raise NotReplayable

    __add__ = __radd__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __neg__ = __abs__ = _refuse
    __floordiv__ = __mod__ = __divmod__ = __pow__ = __rfloordiv__ = __rmod__ = __rdivmod__ = __rpow__ = _refuse
    __int__ = __round__ = __trunc__ = __floor__ = __ceil__ = __float__ = __pos__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __ne__ = __bool__ = __hash__ = _refuse
    __str__ = __repr__ = __format__ = is_integer = hex = as_integer_ratio = _refuse


class Flush:
    """Stands for `flush_first_value`, which is another one on each scrape."""

    __bool__ = _refuse


FLUSH = Flush()


class Recorder:
    """A check that writes down what it is asked to submit, in `program`. Everything else is the real check's."""

    def __init__(self, check: Any) -> None:
        self._check = check
        self.program = Program()
        self._names: dict[str, tuple[str, bool]] = {}
        self._tags: dict[str, str] = {}
        self._tag_lists: dict[tuple[str, ...], list[str]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._check, name)

    def forget(self) -> None:
        """Drop what is only of use while recording, and what may be otherwise on the next scrape."""
        self.program = Program()
        for held in (self._names, self._tags, self._tag_lists):
            held.clear()

    def gauge(self, name: str, value: Any, **more: Any) -> None:
        self._metric("GAUGE", name, value, **more)

    def rate(self, name: str, value: Any, **more: Any) -> None:
        self._metric("RATE", name, value, **more)

    def monotonic_count(self, name: str, value: Any, **more: Any) -> None:
        self._metric("MONOTONIC_COUNT", name, value, **more)

    def _metric(
        self, kind: str, name: str, value: Any, tags: Any, hostname: Any, flush_first_value: Any = False
    ) -> None:
        full_name, wanted = self._named(name)
        if wanted:
            tags = self._check._normalize_tags_type(tags or [], None, full_name)
            self._row(getattr(aggregator_of(self._check), kind), full_name, value, tags, hostname, flush_first_value)

    def submit_histogram_bucket(
        self,
        name: str,
        value: Any,
        lower: float,
        upper: float,
        monotonic: bool,
        hostname: Any,
        tags: Any,
        flush_first_value: Any = False,
        multiple_buckets: bool = False,
    ) -> None:
        tags = self._check._normalize_tags_type(tags, metric_name=name)
        kind = MULTIPLE if multiple_buckets else BUCKET
        self._row(kind, self._named(name)[0], value, tags, hostname, flush_first_value, (lower, upper, monotonic))

    def _row(
        self,
        kind: int,
        name: str,
        value: Any,
        tags: list[str],
        hostname: Any,
        flush: Any,
        bounds: tuple[float, float, bool] | None = None,
    ) -> None:
        if type(value) is not Symbol or (flush is not FLUSH and flush is not False):
            raise NotReplayable
        program = self.program
        program.kinds.append(kind)
        program.names.append(name)
        program.index.append(value.index)
        program.minus.append(value.minus)
        program.tags.append(self._shared(tags))
        program.hosts.append("" if hostname is None else hostname)
        program.flushes.append(flush is FLUSH)
        program.bounds.append(bounds)

    def _named(self, name: str) -> tuple[str, bool]:
        """A name as the check sends it, and whether it sends it as a metric."""
        found = self._names.get(name)
        if found is None:
            full_name = self._check._format_namespace(name, False)
            found = self._names[name] = (full_name, self._check.should_send_metric(full_name))
        return found

    def _shared(self, tags: list[str]) -> list[str]:
        """The same tags, held once."""
        key = tuple(tags)
        found = self._tag_lists.get(key)
        if found is None:
            found = self._tag_lists[key] = [self._tags.setdefault(tag, tag) for tag in tags]
        return found


def aggregator_of(check: Any) -> Any:
    """The aggregator that the check's own methods would use, in every version of the base package."""
    chosen = getattr(check, "_aggregator", None)
    return chosen() if chosen is not None else sys.modules["datadog_checks.base.checks.base"].aggregator
