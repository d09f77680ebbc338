"""The page that Prometheus reads."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from raftcache.metrics import PREFIX, HttpCounters, Metrics


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
