"""Bodies of remote write 1.0, as its specification has them: a `WriteRequest` of Protocol Buffers in a Snappy block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from math import isnan
from struct import pack, unpack
from typing import Any

from cramjam import DecompressionError, snappy
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from ....errors import BodyError

LARGEST = 16 << 20
"""Bytes of a request after decompression, which the block says before anything of it is decompressed."""

STALE = frozenset((0x7FF0000000000002, 0x7FF8000000000002))
"""The bits of the NaN that ends a series, and what is left of them where a processor has made it quiet."""

MOST_SERIES, MOST_SAMPLES = 50_000, 100_000
"""What a request may hold: decoded, the smallest series takes fifty times its bytes."""

TYPES = ("unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset")
"""Types of metrics by their number."""

_STALE_NAN = unpack("<d", (0x7FF0000000000002).to_bytes(8, "little"))[0]
_FIELD = descriptor_pb2.FieldDescriptorProto
_MESSAGES: dict[str, tuple[tuple[str, int, Any, str], ...]] = {
    "Label": (("name", 1, _FIELD.TYPE_STRING, ""), ("value", 2, _FIELD.TYPE_STRING, "")),
    "Sample": (("value", 1, _FIELD.TYPE_DOUBLE, ""), ("timestamp", 2, _FIELD.TYPE_INT64, "")),
    # A native histogram: that there is one is all that is read of it.
    "Histogram": (("timestamp", 15, _FIELD.TYPE_INT64, ""),),
    "TimeSeries": (
        ("labels", 1, _FIELD.TYPE_MESSAGE, "Label"),
        ("samples", 2, _FIELD.TYPE_MESSAGE, "Sample"),
        ("histograms", 4, _FIELD.TYPE_MESSAGE, "Histogram"),
    ),
    "MetricMetadata": (("type", 1, _FIELD.TYPE_INT32, ""), ("metric_family_name", 2, _FIELD.TYPE_STRING, "")),
    "WriteRequest": (
        ("timeseries", 1, _FIELD.TYPE_MESSAGE, "TimeSeries"),
        ("metadata", 3, _FIELD.TYPE_MESSAGE, "MetricMetadata"),
    ),
}
"""The fields that are read, by message: name, number, type, and the message that it repeats. Others are passed over."""


@dataclass(frozen=True, slots=True)
class WrittenSeries:
    """What a request says of one series. `samples` are (milliseconds since 1970, value), the value None at its end,
    `structures` the times of native histograms."""

    labels: dict[str, str]
    samples: list[tuple[int, float | None]]
    structures: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Written:
    """One request: its series, and the types of families that it tells."""

    series: list[WrittenSeries]
    types: dict[str, str] = field(default_factory=dict)


def decode(body: bytes, largest: int = LARGEST) -> Written:
    """What a body says. Raises BodyError for one that is none, or too large, in words for the sender's log."""
    try:
        size = snappy.decompress_raw_len(body)
        if size > largest:
            raise BodyError(f"the request holds {size} bytes, more than {largest}: lower `max_samples_per_send`")
        text = bytes(snappy.decompress_raw(body))
    except DecompressionError:
        raise BodyError("the body is no Snappy block (the format without frames, as remote write has it)") from None
    request = _message("WriteRequest")()
    try:
        request.ParseFromString(text)
    except DecodeError:
        raise BodyError("the body is no prometheus.WriteRequest") from None
    samples = sum(len(each.samples) + len(each.histograms) for each in request.timeseries)
    if len(request.timeseries) > MOST_SERIES or samples > MOST_SAMPLES:
        raise BodyError(
            f"the request holds {samples} samples of {len(request.timeseries)} series, more than {MOST_SAMPLES} of "
            f"{MOST_SERIES}: lower `max_samples_per_send`"
        )
    series = list(map(_series, request.timeseries))
    types = {
        each.metric_family_name: TYPES[each.type]
        for each in request.metadata
        if each.metric_family_name and 0 <= each.type < len(TYPES)
    }
    return Written(series, types)


def encode(written: Written) -> bytes:
    """The body that says this: what a sender would write."""
    request = _message("WriteRequest")()
    for each in written.series:
        series = request.timeseries.add()
        for name, value in sorted(each.labels.items()):
            series.labels.add(name=name, value=value)
        for timestamp, number in each.samples:
            series.samples.add(timestamp=timestamp, value=_STALE_NAN if number is None else number)
        for timestamp in each.structures:
            series.histograms.add(timestamp=timestamp)
    for family, kind in written.types.items():
        request.metadata.add(metric_family_name=family, type=TYPES.index(kind))
    return bytes(snappy.compress_raw(request.SerializeToString()))


def _series(series: Any) -> WrittenSeries:
    labels = {label.name: label.value for label in series.labels}
    if len(labels) < len(series.labels):
        raise BodyError("a series has a label twice")
    if not labels.get("__name__"):
        raise BodyError("a series has no name: the label `__name__` is missing")
    if "" in labels:
        raise BodyError("a series has a label without a name")
    return WrittenSeries(labels, list(_samples(series)), [each.timestamp for each in series.histograms])


def _samples(series: Any) -> Iterator[tuple[int, float | None]]:
    for sample in series.samples:
        value = sample.value
        yield sample.timestamp, None if isnan(value) and ends(value) else value


def ends(value: float) -> bool:
    """Whether a NaN is the one that ends a series."""
    return int.from_bytes(pack("<d", value), "little") in STALE


@cache
def _message(name: str) -> Any:
    """The class of a message. In a pool of its own: other packages may bring the whole description of Prometheus."""
    file = descriptor_pb2.FileDescriptorProto(name="remote_write.proto", package="prometheus", syntax="proto3")
    for message, fields in _MESSAGES.items():
        own = file.message_type.add(name=message)
        for label, number, kind, of in fields:
            added = own.field.add(name=label, number=number, type=kind, label=_FIELD.LABEL_OPTIONAL)
            if of:
                added.label, added.type_name = _FIELD.LABEL_REPEATED, f".prometheus.{of}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"prometheus.{name}"))
