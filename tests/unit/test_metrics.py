"""The page that Prometheus reads."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from raftcache.metrics import PREFIX, HttpCounters, Metrics, RespCounters
from raftcache.metrics_table import COUNTERS, GAUGES
from raftcache.raft.peer import LinkCounters


def samples(page: bytes) -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.values()))): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def test_counters_are_read_at_every_page() -> None:
    http = HttpCounters()
    metrics = Metrics(http, lambda: {})
    http.answers["GET", 200] += 2
    http.answers["GET", 204] += 1
    http.answers["PUT", 503] += 4
    http.connections_open = 5
    http.connections_refused = 6
    found = samples(metrics.page())
    assert found["raftcache_http_requests_total", ("2xx", "GET")] == 3
    assert found["raftcache_http_requests_total", ("5xx", "PUT")] == 4
    assert found["raftcache_http_connections", ()] == 5
    assert found["raftcache_http_connections_refused_total", ()] == 6
    http.answers["GET", 200] += 1
    assert samples(metrics.page())["raftcache_http_requests_total", ("2xx", "GET")] == 4


def test_gauges_get_the_prefix_once() -> None:
    metrics = Metrics(HttpCounters(), lambda: {"raft_term": 3.0, PREFIX + "store_keys": 11})
    found = samples(metrics.page())
    assert found["raftcache_raft_term", ()] == 3
    assert found["raftcache_store_keys", ()] == 11


def test_all_names_have_the_prefix() -> None:
    page = Metrics(HttpCounters(), lambda: {"a": 1}).page()
    assert all(name.startswith(PREFIX) for name, _ in samples(page))


def test_making_metrics_reads_nothing_yet() -> None:
    """A node makes them before the parts that the gauges read."""

    def too_early() -> dict[str, float]:
        raise AssertionError("read before a page was asked for")

    Metrics(HttpCounters(), too_early)


def kinds(page: bytes) -> dict[str, str]:
    """Of each number, without the `_total` that belongs to a counter."""
    return {family.name: family.type for family in text_string_to_metric_families(page.decode())}


def test_what_only_grows_is_a_counter_and_all_else_a_gauge() -> None:
    numbers = dict.fromkeys((*COUNTERS, *GAUGES), 7.0)
    page = Metrics(HttpCounters(), lambda: numbers, RespCounters()).page()
    shown = kinds(page)
    for name, (counter, _) in COUNTERS.items():
        assert shown[PREFIX + counter] == "counter"
        assert samples(page)[f"{PREFIX}{counter}_total", ()] == 7, name
    for name in GAUGES:
        assert shown[PREFIX + name] == "gauge"


def test_what_links_count_is_in_the_table() -> None:
    assert {f"link_{name}" for name in LinkCounters.__slots__} <= COUNTERS.keys()


def test_names_have_their_unit_in_its_place() -> None:
    """As Prometheus has it: the unit last, but for the end of a counter; and it says what it is."""
    for name, said in (*COUNTERS.values(), *GAUGES.items()):
        assert not name.endswith("_total")
        units = [u for u in ("bytes", "seconds") if u in name.split("_")]
        assert not units or name.removesuffix("_max").endswith(units[0]), name
        assert said.endswith("."), name


def test_a_redis_client_that_begins_to_count_anew_does_so_for_itself() -> None:
    """CONFIG RESETSTAT: a counter that went back would look like a node that was restarted."""
    resp = RespCounters(calls=5, connections_accepted=2, connections_open=1, protocol_errors=3)
    metrics = Metrics(HttpCounters(), dict, resp)
    before = samples(metrics.page())
    resp.reset()
    assert samples(metrics.page()) == before
    resp.calls += 2
    assert (resp.since_reset("calls"), resp.since_reset("connections_accepted")) == (2, 0)
    assert samples(metrics.page())["raftcache_resp_calls_total", ()] == 7


def test_what_the_pages_tell_operators_to_watch_is_there() -> None:
    numbers = dict.fromkeys((*COUNTERS, *GAUGES), 0.0)
    http = HttpCounters()
    http.answers["GET", 200] += 1
    shown = {name for name, _ in samples(Metrics(http, lambda: numbers, RespCounters()).page())}
    docs = Path(__file__).parents[2] / "docs"
    said = {
        name
        for page in ("OPERATIONS.md", "REDIS.md")
        for name in re.findall(r"raftcache_[a-z_]+", (docs / page).read_text())
    }
    assert len(said) > 20
    assert said <= shown, said - shown
