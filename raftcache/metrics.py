"""Plain counters that the hot path may touch, and the collector that shows them to Prometheus."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from raftcache.metrics_table import COUNTERS, GAUGES

PREFIX: Final = "raftcache_"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class HttpCounters:
    """What the HTTP front door counts; written on the event loop only."""

    answers: defaultdict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))
    """(method, status) -> answers given."""
    connections_open: int = 0
    connections_accepted: int = 0
    connections_refused: int = 0
    """Turned away because connections_max were open."""
    connections_stalled: int = 0
    """Closed because the client stopped in the middle of sending or reading."""
    requests_size_bytes: int = 0
    """That are held of requests, as of the last second; see server/room.py."""
    answers_size_bytes: int = 0
    """The same, of answers that are not read."""


@dataclass(slots=True)
class RespCounters:
    """What the door of the Redis protocol counts; written on the event loop only.

    It only grows, for whoever reads /metrics; a Redis client is shown what came since it was told
    to reset(), which any of them may do.
    """

    calls: int = 0
    """Calls taken."""
    connections_open: int = 0
    connections_accepted: int = 0
    connections_refused: int = 0
    """Turned away because connections_max were open."""
    connections_stalled: int = 0
    """Closed because the client stopped in the middle of sending or reading."""
    connections_idle: int = 0
    """Closed because the client did nothing for long."""
    connections_cut_off: int = 0
    """Closed because more was waiting to be read by the client than may."""
    protocol_errors: int = 0
    received_size_bytes: int = 0
    """As of the last second or so, like the next two."""
    sent_size_bytes: int = 0
    calls_per_s: float = 0.0
    _before: dict[str, int] = field(default_factory=dict)

    def reset(self) -> None:
        """From here on since_reset() counts anew."""
        self._before = {name: getattr(self, name) for name in _RESET}

    def since_reset(self, name: str) -> int:
        """One of _RESET."""
        counted: int = getattr(self, name)
        return counted - self._before.get(name, 0)


_RESET: Final = (
    "calls",
    "connections_accepted",
    "connections_refused",
    "received_size_bytes",
    "sent_size_bytes",
)
"""What CONFIG RESETSTAT begins anew."""


class Metrics:
    """One node's page of metrics; reads its sources at every call of page()."""

    def __init__(
        self,
        http: HttpCounters,
        gauges: Callable[[], Mapping[str, float]],
        resp: RespCounters | None = None,
    ) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Sources(http, gauges, resp))

    def page(self) -> bytes:
        """The text that Prometheus reads, of CONTENT_TYPE."""
        return generate_latest(self._registry)


class _Sources(Collector):
    def __init__(
        self,
        http: HttpCounters,
        gauges: Callable[[], Mapping[str, float]],
        resp: RespCounters | None,
    ) -> None:
        self._http, self._gauges, self._resp = http, gauges, resp

    def describe(self) -> list[Metric]:
        """Nothing beforehand: the registry would otherwise collect once to learn the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        yield from _http_families(self._http)
        if self._resp is not None:
            yield from _resp_families(self._resp)
        for name, value in sorted(self._gauges().items()):
            yield _family(name.removeprefix(PREFIX), value)


def _family(name: str, value: float) -> Metric:
    if name in COUNTERS:
        shown, said = COUNTERS[name]
        return CounterMetricFamily(PREFIX + shown, said, value)
    return GaugeMetricFamily(PREFIX + name, GAUGES.get(name, name.replace("_", " ")), value)


def _http_families(http: HttpCounters) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        PREFIX + "http_requests",
        "Requests answered, by method and class of status.",
        labels=("method", "status"),
    )
    by_class: Counter[tuple[str, str]] = Counter()
    for (method, status), answers in http.answers.items():
        by_class[method, f"{status // 100}xx"] += answers
    for labels, answers in sorted(by_class.items()):
        requests.add_metric(labels, answers)
    yield requests
    yield GaugeMetricFamily(PREFIX + "http_connections", "Connections open.", http.connections_open)
    for what, size_bytes in (
        ("requests", http.requests_size_bytes),
        ("answers", http.answers_size_bytes),
    ):
        yield GaugeMetricFamily(
            f"{PREFIX}http_{what}_size_bytes",
            f"Held of {what}, for --pending-size-max.",
            size_bytes,
        )
    for what, number in (
        ("accepted", http.connections_accepted),
        ("refused", http.connections_refused),
        ("stalled", http.connections_stalled),
    ):
        yield CounterMetricFamily(
            f"{PREFIX}http_connections_{what}", f"Connections {what}.", number
        )


def _resp_families(resp: RespCounters) -> Iterator[Metric]:
    yield CounterMetricFamily(PREFIX + "resp_calls", "Redis commands taken.", resp.calls)
    yield CounterMetricFamily(
        PREFIX + "resp_protocol_errors", "Bytes that were no Redis command.", resp.protocol_errors
    )
    for way, size_bytes in (
        ("received", resp.received_size_bytes),
        ("sent", resp.sent_size_bytes),
    ):
        yield CounterMetricFamily(
            f"{PREFIX}resp_{way}_bytes", f"Bytes {way}, Redis clients.", size_bytes
        )
    yield GaugeMetricFamily(PREFIX + "resp_connections", "Connections open.", resp.connections_open)
    for what, number in (
        ("accepted", resp.connections_accepted),
        ("refused", resp.connections_refused),
        ("stalled", resp.connections_stalled),
        ("idle", resp.connections_idle),
        ("cut_off", resp.connections_cut_off),
    ):
        yield CounterMetricFamily(
            f"{PREFIX}resp_connections_{what}", f"Connections {what.replace('_', ' ')}.", number
        )
