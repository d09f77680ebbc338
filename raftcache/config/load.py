"""Flags, environment, file and defaults become one Config, or one BadConfig that says why not."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from difflib import SequenceMatcher
from itertools import combinations
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from raftcache.config import text
from raftcache.config.settings import (
    MEMORY_SIZE_BYTES_MIN,
    SETTINGS,
    TABLES,
    VALUES_IN_MEMORY_MIN,
    VARIABLES,
    Setting,
)
from raftcache.config.shape import Address, Config, Eviction, Limits, Storage, Timing
from raftcache.errors import BadConfig

LIKENESS_MIN: Final = 0.8
"""Of two names in the environment, so that one is taken for the other misspelt."""


class _Said(NamedTuple):
    """A setting's value, and where it came from, for messages."""

    setting: Setting
    value: Any
    source: str

    def __str__(self) -> str:
        return f"--{self.setting.name} {self.setting.show(self.value)} ({self.source})"


def load(
    flags: Mapping[str, str | None],
    environ: Mapping[str, str],
    read_file: Callable[[Path], str] = Path.read_text,
) -> Config:
    """The settings of one node: flags win over the environment, the file, and the defaults.

    flags: by the names in SETTINGS, and `config`; None where a flag was not given.
    environ: RAFTCACHE_ and the name in capitals with `_`; other variables are ignored.
    The file is the one named by `config`: TOML, names with `_`, tables [timing], [limits] and
    [storage]. Raises BadConfig; its message names the setting, its value, where that came from
    and what to do.
    """
    said = {s.setting.name: s for s in _collect(flags, environ, read_file)}
    _check_timing(said)
    _check_storage(said)
    _check_memory(said)
    listen = _check_addresses(said)
    _check_members(said, listen)
    return _build(said, listen)


def advice(config: Config, environ: Mapping[str, str]) -> list[str]:
    """What works, but is probably not meant; a sentence each, for the operator."""
    said = [
        f"{name} in the environment is no setting, and does nothing: {nearest} is one"
        for name in environ
        if (nearest := _nearly_said(name)) is not None
    ]
    size = len(config.members)
    if size and size % 2 == 0:
        said.append(
            f"a cluster of {size} survives the loss of {(size - 1) // 2}, as one of {size - 1} "
            "does: an odd number of members is better"
        )
    return said


def _nearly_said(name: str) -> str | None:
    """The variable of a setting that was probably meant by this one, if it is none."""
    if not name.startswith(VARIABLES):
        return None
    known = {setting.variable for setting in SETTINGS} | {"RAFTCACHE_CONFIG"}
    if name in known:
        return None

    def likeness(variable: str) -> float:
        one, other = variable.removeprefix(VARIABLES), name.removeprefix(VARIABLES)
        return SequenceMatcher(None, one, other).ratio()

    nearest = max(known, key=likeness)
    return nearest if likeness(nearest) >= LIKENESS_MIN else None


def _collect(
    flags: Mapping[str, str | None],
    environ: Mapping[str, str],
    read_file: Callable[[Path], str],
) -> Iterator[_Said]:
    path = flags.get("config") or environ.get("RAFTCACHE_CONFIG")
    from_file = _read(Path(path), read_file) if path else {}
    for setting in SETTINGS:
        flag, variable = flags.get(setting.name), environ.get(setting.variable)
        if flag is not None:
            yield _parse(setting, flag, "flag")
        elif variable is not None:
            yield _parse(setting, variable, f"environment {setting.variable}")
        elif setting.name in from_file:
            yield _parse(setting, from_file[setting.name], f"file {path}")
        elif setting.default is not None:
            yield _Said(setting, setting.default, "default")


def _parse(setting: Setting, said: str, source: str) -> _Said:
    try:
        return _Said(setting, setting.parse(said), source)
    except ValueError as e:
        raise BadConfig(f"--{setting.name} {said!r} ({source}) {e}") from None


# --- the file -----------------------------------------------------------------------------------


def _read(path: Path, read_file: Callable[[Path], str]) -> dict[str, str]:
    """What the file says, by the names of settings, as an operator would write it in a flag."""
    try:
        document = tomllib.loads(read_file(path))
    except OSError as e:
        raise BadConfig(f"--config {path} cannot be read: {e.strerror or e}") from None
    except ValueError as e:  # not TOML, or not UTF-8
        raise BadConfig(f"--config {path} is not valid TOML: {e}") from None
    return {
        _known(path, table, key).name: _as_flag(path, table, key, value)
        for table, entries in _tables(document)
        for key, value in entries.items()
    }


def _tables(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The tables that may be there, and the top, where everything else counts as a key."""
    inner = {k: v for k, v in document.items() if k in TABLES and isinstance(v, dict)}
    yield "", {k: v for k, v in document.items() if k not in inner}
    yield from inner.items()


def _known(path: Path, table: str, key: str) -> Setting:
    for setting in SETTINGS:
        if (setting.table, setting.key) == (table, key):
            return setting
    nearest = max(
        SETTINGS, key=lambda s: (SequenceMatcher(None, s.key, key).ratio(), s.table == table)
    )
    raise BadConfig(
        f"--config {path} has the unknown key {_place(table, key)}; "
        f"the nearest known one is {_place(nearest.table, nearest.key)}"
    )


def _place(table: str, key: str) -> str:
    return f"[{table}] {key}" if table else key


def _as_flag(path: Path, table: str, key: str, value: object) -> str:
    match value:
        case str():
            return value
        case bool():
            return text.show_switch(value)
        case int():
            return str(value)
    raise BadConfig(
        f"--config {path}: {_place(table, key)} must be a string, a whole number or true/false"
    )


# --- relations ----------------------------------------------------------------------------------


def _check_timing(said: Mapping[str, _Said]) -> None:
    heartbeat, low, high = said["heartbeat"], said["election-min"], said["election-max"]
    request = said["request-timeout"]
    if not heartbeat.value * 3 < low.value:
        _refuse(
            f"three times {heartbeat} must be less than {low}: a single late heartbeat would "
            "start an election; lower the first or raise the second"
        )
    if not low.value < high.value:
        _refuse(
            f"{low} must be less than {high}: members draw their timeouts between the two, so "
            "that they do not all stand at once; lower the first or raise the second"
        )
    if not high.value < request.value:
        _refuse(
            f"{request} must be more than {high}: a request would give up before a new leader "
            "can be there; raise the first or lower the second"
        )


def _check_storage(said: Mapping[str, _Said]) -> None:
    segment, log = said["segment-size"], said["snapshot-log-size"]
    if segment.value > log.value:
        _refuse(
            f"{segment} must not be more than {log}: only whole segments can be deleted; "
            "lower the first or raise the second"
        )


def _check_memory(said: Mapping[str, _Said]) -> None:
    memory, value, eviction = said["max-memory"], said["value-size-max"], said["eviction"]
    if 0 < memory.value < MEMORY_SIZE_BYTES_MIN:
        _refuse(f"{memory} must be 0, for no limit, or at least {MEMORY_SIZE_BYTES_MIN} bytes")
    if 0 < memory.value < VALUES_IN_MEMORY_MIN * value.value:
        _refuse(
            f"{memory} must have room for {VALUES_IN_MEMORY_MIN} values of {value}, so that "
            "there can be room for one at any time: "
            "raise the first or lower the second"
        )
    if not memory.value and eviction.value is not Eviction.NOEVICTION:
        _refuse(f"{eviction} never has a reason to evict with {memory}: say how much memory it has")


class _Addresses(NamedTuple):
    http: Address
    raft: Address
    http_advertise: Address
    raft_advertise: Address
    resp: Address | None
    resp_advertise: Address | None


def _check_addresses(said: Mapping[str, _Said]) -> _Addresses:
    for name in ("name", "data-dir", "http", "raft"):
        if name not in said:
            setting = next(s for s in SETTINGS if s.name == name)
            _refuse(f"--{name} is missing (flag, {setting.variable} or file): {setting.help}")
    http, raft, resp = said["http"], said["raft"], said.get("resp")
    doors = [http, raft] if resp is None else [http, raft, resp]
    for one, other in combinations(doors, 2):
        if one.value == other.value:
            _refuse(f"{one} and {other} are the same address: give each its own port")
    if resp is None and "resp-advertise" in said:
        _refuse(f"{said['resp-advertise']} leads nowhere without --resp: say where to listen")
    for listen in doors:
        if not text.is_loopback(listen.value) and not said["insecure"].value:
            _refuse(
                f"{listen} can be reached from other machines, and links are not authenticated "
                "yet: use 127.0.0.1, or say --insecure if the network is trusted"
            )
    return _Addresses(
        http.value,
        raft.value,
        _advertised(said, "http"),
        _advertised(said, "raft"),
        None if resp is None else resp.value,
        None if resp is None else _advertised(said, "resp"),
    )


def _advertised(said: Mapping[str, _Said], name: str) -> Address:
    """What others connect to: as said, or the address listened on."""
    listen, advertise = said[name], said.get(f"{name}-advertise")
    if advertise is None and text.is_wildcard(listen.value):
        _refuse(
            f"{listen} stands for every interface, and nobody can connect to that: "
            f"say --{name}-advertise host:port"
        )
    chosen = advertise or listen
    if text.is_wildcard(chosen.value):
        _refuse(f"{chosen} stands for every interface: name the one that others can reach")
    address: Address = chosen.value
    return address


def _check_members(said: Mapping[str, _Said], own: _Addresses) -> None:
    name, cluster, join = said["name"], said.get("cluster"), said.get("join")
    if cluster and join:
        _refuse(f"{cluster} and {join} exclude each other: a node starts a cluster or joins one")
    if not cluster:
        if not join:
            _refuse("--cluster or --join is missing: say who the members are, or whom to join")
        return
    address = cluster.value.get(name.value)
    if address is None:
        _refuse(f"{cluster} does not hold {name}: add this node, or mend its name")
    if address not in (own.raft, own.raft_advertise):
        _refuse(
            f"{cluster} has {name.value} at {address}, but {said['raft']} is advertised as "
            f"{own.raft_advertise}: make them equal"
        )


def _refuse(why: str) -> NoReturn:
    raise BadConfig(why)


def _build(said: Mapping[str, _Said], addresses: _Addresses) -> Config:
    def table(name: str) -> dict[str, Any]:
        of = (s for s in said.values() if s.setting.table == name)
        return {s.setting.field: s.value for s in of}

    return Config(
        **(table("") | addresses._asdict()),
        timing=Timing(**table("timing")),
        limits=Limits(**table("limits")),
        storage=Storage(**table("storage")),
    )
