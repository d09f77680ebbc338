"""What an operator may say to a node, and what each mistake is answered with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from raftcache import config
from raftcache.command import limits
from raftcache.config import (
    Address,
    ClusterMap,
    Config,
    Durability,
    Eviction,
    LogFormat,
    LostCalls,
    PubSubCounts,
    settings,
    text,
)
from raftcache.errors import BadConfig

CLUSTER = "n1=127.0.0.1:7501,n2=127.0.0.1:7502,n3=127.0.0.1:7503"
FLAGS: dict[str, str | None] = {
    "name": "n1",
    "data-dir": "/data",
    "http": "127.0.0.1:7401",
    "raft": "127.0.0.1:7501",
    "cluster": CLUSTER,
}


def load(
    changed: Mapping[str, str | None] | None = None,
    environ: Mapping[str, str] | None = None,
    file: str | None = None,
) -> Config:
    """FLAGS with some changed; `file` is the text of a configuration file."""
    flags = FLAGS | dict(changed or {})
    if file is not None:
        flags["config"] = "/etc/raftcache.toml"
    return config.load(flags, environ or {}, lambda path: file or "")


def refusal(
    changed: Mapping[str, str | None] | None = None,
    environ: Mapping[str, str] | None = None,
    file: str | None = None,
) -> str:
    with pytest.raises(BadConfig) as caught:
        load(changed, environ, file)
    return caught.value.detail


def test_flags_alone_give_a_config_with_defaults() -> None:
    got = load()
    assert got == Config(
        name="n1",
        data_dir=Path("/data"),
        http=Address("127.0.0.1", 7401),
        raft=Address("127.0.0.1", 7501),
        http_advertise=Address("127.0.0.1", 7401),
        raft_advertise=Address("127.0.0.1", 7501),
        members={f"n{i}": Address("127.0.0.1", 7500 + i) for i in (1, 2, 3)},
    )


def test_every_setting_lands_in_its_field() -> None:
    got = load(
        {
            "cluster": None,
            "join": "http://127.0.0.1:7402/",
            "insecure": "true",
            "http": "0.0.0.0:7401",
            "http-advertise": "cache.example:80",
            "raft-advertise": "[::1]:7501",
            "resp": "127.0.0.1:6401",
            "resp-advertise": "cache.example:6379",
            "notify-keyspace-events": "xEmEAKn",
            "resp-password": "secret",
            "resp-cluster-map": "spread",
            "resp-pubsub-counts": "cluster",
            "log-format": "json",
            "log-level": "debug",
            "heartbeat": "10ms",
            "election-min": "100ms",
            "election-max": "0.2s",
            "request-timeout": "1m",
            "shutdown-timeout": "3s",
            "value-size-max": "2MiB",
            "connections-max": "11",
            "writes-pending-max": "12",
            "reads-pending-max": "13",
            "pending-size-max": "20MiB",
            "watchers-max": "16",
            "header-timeout": "14s",
            "keepalive-timeout": "1h",
            "resp-idle-timeout": "2m",
            "resp-output-max": "3MiB",
            "resp-lost-calls": "close",
            "max-memory": "1GiB",
            "eviction": "allkeys-lfu",
            "durability": "os",
            "segment-size": "16MiB",
            "snapshot-entries": "15",
            "snapshot-log-size": "1GiB",
            "trailing-entries": "0",
        }
    )
    assert (got.join, got.members, got.insecure) == ("http://127.0.0.1:7402", {}, True)
    assert got.http_advertise == Address("cache.example", 80)
    assert got.raft_advertise == Address("::1", 7501)
    assert got.resp == Address("127.0.0.1", 6401)
    assert got.resp_advertise == Address("cache.example", 6379)
    assert got.notify_keyspace_events == "g$lshzxetdnKEm"
    assert (got.resp_password, got.resp_cluster_map) == ("secret", ClusterMap.SPREAD)
    assert got.resp_pubsub_counts is PubSubCounts.CLUSTER
    assert (got.log_format, got.log_level) == (LogFormat.JSON, "debug")
    assert got.timing == config.Timing(0.01, 0.1, 0.2, 60.0, 3.0)
    assert got.limits == config.Limits(
        *(2 << 20, 11, 12, 13, 20 << 20, 16, 14.0, 3600.0, 120.0, 3 << 20, 1 << 30),
        Eviction.ALLKEYS_LFU,
        LostCalls.CLOSE,
    )
    assert got.storage == config.Storage(Durability.OS, 16 << 20, 15, 1 << 30, 0)


def test_flag_beats_environment_beats_file_beats_default() -> None:
    file = '[timing]\nheartbeat = "30ms"\nelection_min = "310ms"\nelection_max = "700ms"'
    environ = {"RAFTCACHE_HEARTBEAT": "20ms", "RAFTCACHE_ELECTION_MIN": "210ms"}
    got = load({"heartbeat": "10ms"}, environ, file).timing
    assert (got.heartbeat_s, got.election_min_s, got.election_max_s) == (0.01, 0.21, 0.7)
    assert got.request_timeout_s == config.Timing().request_timeout_s


def test_the_file_may_be_named_by_the_environment_and_hold_everything() -> None:
    file = """
        name = "n1"
        data_dir = "/data"
        http = "127.0.0.1:7401"
        raft = "127.0.0.1:7501"
        cluster = "n1=127.0.0.1:7501"
        insecure = true
        [limits]
        connections_max = 5
    """
    asked: list[Path] = []

    def read_file(path: Path) -> str:
        asked.append(path)
        return file

    got = config.load({}, {"RAFTCACHE_CONFIG": "/etc/rc.toml"}, read_file)
    assert asked == [Path("/etc/rc.toml")]
    assert (got.name, got.insecure, got.limits.connections_max) == ("n1", True, 5)


def test_a_file_is_read_from_disk_by_default(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text('log_level = "error"')
    assert config.load({**FLAGS, "config": str(path)}, {}).log_level == "error"


def test_other_variables_of_raftcache_are_not_settings() -> None:
    assert load(environ={"RAFTCACHE_ENDPOINTS": "x", "RAFTCACHE_TOKEN": "y"}) == load()


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ('hartbeat = "1s"', "unknown key hartbeat; the nearest known one is [timing] heartbeat"),
        ("heartbeat = 1", "unknown key heartbeat; the nearest known one is [timing] heartbeat"),
        ("data-dir = 1", "unknown key data-dir; the nearest known one is data_dir"),
        (
            "[limits]\nconection_max = 1",
            "[limits] conection_max; the nearest known one is [limits]",
        ),
        ("[timings]\nx = 1", "unknown key timings"),
        ("timing = 3", "unknown key timing"),
        ("name = 1.5", "name must be a string, a whole number or true/false"),
        ("name = ", "/etc/raftcache.toml is not valid TOML: "),
    ],
)
def test_mistakes_in_the_file_are_named(file: str, said: str) -> None:
    assert said in refusal(file=file)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"missing\.toml cannot be read: No such file"):
        config.load({**FLAGS, "config": str(tmp_path / "missing.toml")}, {})


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(BadConfig, match="is not valid TOML"):
        config.load({**FLAGS, "config": str(tmp_path / "x.toml")}, {})


def test_a_bad_value_names_the_setting_the_value_and_where_it_came_from() -> None:
    want = "must be a number with ms, s, m or h"
    assert refusal({"heartbeat": "5"}).startswith(f"--heartbeat '5' (flag) {want}")
    assert refusal(environ={"RAFTCACHE_HEARTBEAT": "5"}).startswith(
        f"--heartbeat '5' (environment RAFTCACHE_HEARTBEAT) {want}"
    )
    assert refusal(file="[timing]\nheartbeat = 5").startswith(
        f"--heartbeat '5' (file /etc/raftcache.toml) {want}"
    )


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("name", "", "1 to 64 letters"),
        ("name", "a" * 65, "1 to 64 letters"),
        ("name", "n/1", "1 to 64 letters"),
        ("name", "n\n", "1 to 64 letters"),
        ("name", "né", "1 to 64 letters"),
        ("data-dir", "", "must be the path of a folder"),
        ("http", "127.0.0.1", "must be host:port"),
        ("http", ":7401", "must be host:port"),
        ("http", "::1:7401", "must be host:port"),
        ("http", "[127.0.0.1]:7401", "must hold an IPv6 address in its brackets"),
        ("http", "[::zz]:7401", "must be host:port"),
        ("http", "127.0.0.1:0", "a port from 1 to 65535, not 0"),
        ("raft", "127.0.0.1:65536", "a port from 1 to 65535, not 65536"),
        ("http-advertise", "http://x:1", "must be host:port"),
        ("join", "127.0.0.1:7401", "must be a member's URL"),
        ("join", "http://x/y", "must be a member's URL"),
        ("join", "http://x:99999", "must be a member's URL"),
        ("join", "http://[::1:7401", "must be a member's URL"),
        ("insecure", "yes", "must be true or false"),
        ("log-format", "xml", "must be one of human, json"),
        ("log-level", "loud", "must be one of debug, info, warning, error"),
        ("durability", "none", "must be one of fsync, os, memory"),
        ("request-timeout", "-1s", "must be a number with"),
        ("request-timeout", "10h", "must be from 100ms to 300s"),
        ("heartbeat", "1ms", "must be from 5ms to 10s"),
        ("connections-max", "0", "must be from 1 to 1000000"),
        ("watchers-max", "0", "must be from 1 to 1000000"),
        ("pending-size-max", "1MiB", "must be from 16MiB to 1024GiB"),
        ("connections-max", "many", "must be a whole number"),
        ("value-size-max", "5MiB", "must be from 1 to 4MiB"),
        ("value-size-max", "0", "must be from 1 to 4MiB"),
        ("value-size-max", "1MB", "must be a whole number with KiB, MiB or GiB"),
        ("segment-size", "1MiB", "must be from 8MiB to 1GiB"),
        ("cluster", "n1", "must be name=host:port,...; 'n1' is not"),
        ("cluster", "", "must be name=host:port,...; '' is not"),
        ("cluster", "n 1=127.0.0.1:1", "has the member 'n 1=127.0.0.1:1', which must be 1 to 64"),
        ("cluster", "n1=x", "has the member 'n1=x', which must be host:port"),
        ("cluster", f"{CLUSTER},n1=127.0.0.1:1", "names n1 twice"),
        ("cluster", f"{CLUSTER},n4=127.0.0.1:7502", "gives n2 and n4 the same address"),
        (
            "cluster",
            ",".join(f"n{i}=127.0.0.1:{i}" for i in range(1, 11)),
            "has 10 members; at most 9 are allowed",
        ),
    ],
)
def test_values_outside_their_range_are_refused(name: str, value: str, said: str) -> None:
    message = refusal({name: value})
    assert said in message
    assert message.startswith(f"--{name} ")
    assert "(flag)" in message


@pytest.mark.parametrize("name", ["name", "data-dir", "http", "raft"])
def test_what_has_no_default_must_be_said(name: str) -> None:
    assert refusal({name: None}).startswith(f"--{name} is missing (flag, RAFTCACHE_")


def test_either_cluster_or_join() -> None:
    assert "--cluster or --join is missing" in refusal({"cluster": None})
    both = refusal({"join": "http://127.0.0.1:7402"})
    assert both.startswith(f"--cluster {CLUSTER} (flag) and --join http://127.0.0.1:7402 (flag)")


def test_the_cluster_holds_this_node_at_its_own_address() -> None:
    assert refusal({"name": "n4"}).startswith(f"--cluster {CLUSTER} (flag) does not hold --name n4")
    moved = refusal({"raft": "127.0.0.1:7509"})
    assert "has n1 at 127.0.0.1:7501, but --raft 127.0.0.1:7509 (flag)" in moved
    assert load({"raft": "127.0.0.1:7509", "raft-advertise": "127.0.0.1:7501"}).raft.port == 7509


@pytest.mark.parametrize(
    ("said", "pair"),
    [
        ({"http": "127.0.0.1:7501"}, "--http 127.0.0.1:7501 (flag) and --raft 127.0.0.1:7501"),
        ({"resp": "127.0.0.1:7401"}, "--http 127.0.0.1:7401 (flag) and --resp 127.0.0.1:7401"),
        ({"resp": "127.0.0.1:7501"}, "--raft 127.0.0.1:7501 (flag) and --resp 127.0.0.1:7501"),
    ],
)
def test_each_listener_needs_its_own_port(said: dict[str, str | None], pair: str) -> None:
    assert refusal(said) == f"{pair} (flag) are the same address: give each its own port"


def test_redis_clients_are_served_only_where_it_is_said() -> None:
    assert (load().resp, load().resp_advertise) == (None, None)
    own = Address("127.0.0.1", 6401)
    got = load({"resp": str(own)})
    assert (got.resp, got.resp_advertise) == (own, own)
    alone = refusal({"resp-advertise": "cache.example:6379"})
    assert "--resp-advertise cache.example:6379 (flag) leads nowhere without --resp" in alone


@pytest.mark.parametrize("door", ["http", "resp"])
@pytest.mark.parametrize("host", ["192.0.2.1", "0.0.0.0", "[::]", "cache.example"])
def test_other_machines_are_let_in_only_knowingly(host: str, door: str) -> None:
    said = refusal({door: f"{host}:7409"})
    assert said.startswith(f"--{door} {host}:7409 (flag) can be reached from other machines")
    assert "not authenticated" in said
    assert "--insecure" in said


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "[::1]"])
def test_loopback_needs_no_leave(host: str) -> None:
    assert str(load({"http": f"{host}:7401"}).http) == f"{host}:7401"


def test_a_wildcard_cannot_be_advertised() -> None:
    everywhere = {"insecure": "true", "http": "0.0.0.0:7401"}
    assert "say --http-advertise host:port" in refusal(everywhere)
    assert "name the one that others" in refusal(everywhere | {"http-advertise": "[::]:7401"})
    everywhere |= {"http-advertise": "192.0.2.1:7401"}
    assert load(everywhere).insecure
    assert "say --resp-advertise host:port" in refusal(everywhere | {"resp": "0.0.0.0:6401"})


def test_relations_of_timing_name_both_values_and_where_they_came_from() -> None:
    assert refusal({"heartbeat": "200ms"}).startswith(
        "three times --heartbeat 200ms (flag) must be less than --election-min 400ms (default)"
    )
    assert refusal(environ={"RAFTCACHE_ELECTION_MAX": "400ms"}).startswith(
        "--election-min 400ms (default) must be less than "
        "--election-max 400ms (environment RAFTCACHE_ELECTION_MAX)"
    )
    assert refusal(file='[timing]\nrequest_timeout = "800ms"').startswith(
        "--request-timeout 800ms (file /etc/raftcache.toml) must be more than "
        "--election-max 800ms (default)"
    )


def test_a_segment_fits_between_two_snapshots() -> None:
    assert refusal({"max-memory": "512KiB"}).startswith(
        "--max-memory 512KiB (flag) must be 0, for no limit, or at least 1048576 bytes"
    )
    assert refusal({"max-memory": "19MiB"}).startswith(
        "--max-memory 19MiB (flag) must have room for 20 values of --value-size-max 1MiB (default)"
    )
    assert refusal({"eviction": "allkeys-lru"}).startswith(
        "--eviction allkeys-lru (flag) never has a reason to evict with --max-memory 0 (default)"
    )
    assert load({"max-memory": "20MiB"}).limits.memory_size_bytes_max == 20 << 20
    assert refusal({"segment-size": "512MiB"}).startswith(
        "--segment-size 512MiB (flag) must not be more than --snapshot-log-size 256MiB (default)"
    )


def test_even_sizes_are_advised_against_and_work() -> None:
    assert config.advice(load(), {}) == []
    two = load({"cluster": "n1=127.0.0.1:7501,n2=127.0.0.1:7502"})
    assert config.advice(two, {}) == [
        "a cluster of 2 survives the loss of 0, as one of 1 does: an odd number of members is "
        "better"
    ]
    assert config.advice(load({"cluster": None, "join": "http://127.0.0.1:7402"}), {}) == []


def test_limits_agree_with_the_words_of_the_log() -> None:
    assert settings.VALUE_SIZE_BYTES_MAX == limits.VALUE_SIZE_BYTES_MAX
    assert settings.SEGMENT_SIZE_BYTES_MIN > limits.ENTRY_SIZE_BYTES_MAX


def test_defaults_are_within_the_range_of_their_settings() -> None:
    """What `show` makes of a default is what `parse` takes for it."""
    tables = {"timing": config.Timing(), "limits": config.Limits(), "storage": config.Storage()}
    checked = 0
    for setting in settings.SETTINGS:
        if setting.table:
            default = getattr(tables[setting.table], setting.field)
            assert setting.parse(setting.show(default)) == default, setting.name
            checked += 1
    assert checked == 24


@pytest.mark.parametrize(
    ("said", "seconds"), [("250ms", 0.25), ("30s", 30), ("1.5s", 1.5), ("5m", 300), ("1h", 3600)]
)
def test_durations(said: str, seconds: float) -> None:
    assert text.parse_duration_s(said) == seconds
    assert text.parse_duration_s(text.show_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("said", "size_bytes"),
    [("512", 512), ("64KiB", 1 << 16), ("64MiB", 1 << 26), ("1GiB", 1 << 30)],
)
def test_sizes(said: str, size_bytes: int) -> None:
    assert text.parse_size_bytes(said) == size_bytes
    assert text.show_size(size_bytes) == said


@pytest.mark.parametrize(
    ("said", "shown"),
    [("", ""), ("KEA", "AKE"), ("Kg", "gK"), ("ElxlE", "lxE"), ("g$lshzxetdK", "AK"), ("An", "An")],
)
def test_events_of_keys_are_told_by_letters(said: str, shown: str) -> None:
    assert (
        text.show_key_events(load({"notify-keyspace-events": said}).notify_keyspace_events) == shown
    )


def test_letters_that_stand_for_no_events_are_refused() -> None:
    assert "'q' is not" in refusal({"notify-keyspace-events": "Kq"})


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("RAFTCACHE_MAXMEMORY", "RAFTCACHE_MAX_MEMORY"),
        ("RAFTCACHE_DURABILTY", "RAFTCACHE_DURABILITY"),
        ("RAFTCACHE_DATADIR", "RAFTCACHE_DATA_DIR"),
        ("RAFTCACHE_DATA-DIR", "RAFTCACHE_DATA_DIR"),
        ("RAFTCACHE_DATA_DIR", None),
        ("RAFTCACHE_CONFIG", None),
        ("RAFTCACHE_ENDPOINTS", None),
        ("RAFTCACHE_SERVICE_HOST", None),  # of Kubernetes, as the next
        ("RAFTCACHE_HTTP_PORT_7400_TCP", None),
        ("RAFTCACHE_LOCK_TOKEN", None),
        ("MAX_MEMORY", None),
    ],
)
def test_a_variable_that_is_nearly_a_setting_is_pointed_out(name: str, meant: str | None) -> None:
    """It is not refused, as in the file: others may have variables that begin so."""
    said = config.advice(load(), {name: "1"})
    expected = f"{name} in the environment is no setting, and does nothing: {meant} is one"
    assert said == ([expected] if meant else [])


def test_as_many_places_may_be_said_as_a_cluster_has_members() -> None:
    """More than it can begin with: learners, and who joined."""
    peers = ",".join(f"n{i}=127.0.0.1:{i}" for i in range(1, 16))
    assert len(load({"peers": peers}).peers) == 15
    assert "names n1 twice" in refusal({"peers": "n1=a:1,n1=a:2"})


def test_the_file_that_operations_shows_is_understood() -> None:
    page = (Path(__file__).parents[2] / "docs" / "OPERATIONS.md").read_text()
    _, begin, rest = page.partition('    name = "n1"\n')
    lines = (begin + rest.partition("\n\nand a unit")[0]).splitlines()
    shown = config.load({"config": "f"}, {}, lambda path: "\n".join(lines).replace("\n    ", "\n"))
    assert (shown.name, len(shown.members), shown.log_format) == ("n1", 3, "json")
    assert shown.limits.memory_size_bytes_max == 2 << 30
