"""docs/REDIS.md tells of every command there is, and of every difference that is meant."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from raftcache.command.call_table import SPECS
from raftcache.command.calls import CALL_ARGUMENTS_MAX, CALLS_MAX, SINCE_MAX, WATCHED_MAX
from raftcache.command.globs import GLOB_SIZE_BYTES_MAX
from raftcache.command.limits import KEY_SIZE_BYTES_MAX, RANGE_KEYS_MAX
from raftcache.service.cursors import CURSORS_MAX
from raftcache.service.lateness import LATE_S_MAX
from raftcache.service.pubsub import PATTERNS_MAX, SUBSCRIPTIONS_MAX, WAITING_SIZE_BYTES_MAX
from raftcache.service.scanning import KEYS_FOUND_MAX, KEYS_FOUND_SIZE_BYTES_MAX
from raftcache.service.scripting.acts import CALLS_PER_ACT_MAX
from raftcache.service.scripting.answers import (
    ANSWERED_SIZE_BYTES_MAX,
    GIVEN_SIZE_BYTES_MAX,
    READ_SIZE_BYTES_MAX,
    WRITTEN_MAX,
)
from raftcache.service.scripting.interpreter import (
    LOOKS_MAX,
    MEMORY_SIZE_BYTES_MAX,
    REPLY_DEPTH_MAX,
    REPLY_ELEMENTS_MAX,
    STEPS_MAX,
    TIME_S_MAX,
)
from raftcache.service.scripting.library import (
    SCRIPT_SIZE_BYTES_MAX,
    SCRIPTS_MAX,
    SCRIPTS_SIZE_BYTES_MAX,
)
from raftcache.service.scripting.scripts import ATTEMPTS_MAX
from raftcache.service.scripting.structs import FORMAT_SIZE_BYTES_MAX
from raftcache.service.tracking import PREFIXES_MAX, TRACKED_KEYS_MAX
from raftcache.state.items import GROUPS_MAX
from raftcache.state.redis.geo_search import DISTANCE_COST, PLACE_COST
from raftcache.state.redis.group_calls import CLAIM_LOOKS_MAX
from raftcache.state.redis.hyperloglog import COUNTED_MAX, SPARSE_SIZE_BYTES_MAX
from raftcache.state.redis.sketches import HASHED_BYTES_PER_ELEMENT, SKETCH_COST
from raftcache.state.redis.store import ELEMENTS_READ_MAX, ROWS_TOUCHED_MAX
from raftcache.state.redis.stream_groups import GIVEN_MAX, GIVEN_SIZE_BYTES, LOOK_COST
from raftcache.state.rows import NAME_SIZE_BYTES_MAX
from tests.differential.judge import DIFFERENCES

TEXT: Final = Path(__file__).parents[2].joinpath("docs", "REDIS.md").read_text()


def section(title: str) -> str:
    """What stands between a heading and the next one."""
    _, _, rest = TEXT.partition(f"\n{title}\n")
    assert rest, title
    return re.split(r"\n#+ ", rest)[0]


def table(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.startswith("|"))


def test_the_table_of_commands_is_complete() -> None:
    told = table(section("## Commands"))
    names = set(re.findall(r"`([A-Z_]+)`", re.sub(r"\([^)]*\)", "", told)))
    assert names == {name.decode() for name in SPECS}
    subcommands = {
        f"{container}|{name}"
        for container, listed in re.findall(r"`([A-Z]+)`[⁷⁸]? \(([^)]*)\)", told)
        for name in re.findall(r"`([A-Z-]+)`", listed)
    }
    ours = {s.name.upper() for spec in SPECS.values() for s in spec.subcommands.values()}
    assert subcommands == ours


def test_what_is_not_supported_is_in_no_table() -> None:
    rows = table(section("### Not supported")).splitlines()
    names = {name for row in rows for name in re.findall(r"`([A-Z ]+)`", row.split("|")[1])}
    assert {"FUNCTION", "CONFIG REWRITE"} <= names
    assert not {name.encode() for name in names} & (SPECS.keys() - {b"CLUSTER", b"SENTINEL"})
    parts = {tuple(name.encode().split()) for name in names if " " in name}
    assert not [part for part in parts if part[1] in SPECS[part[0]].subcommands]


def test_every_difference_has_its_paragraph() -> None:
    paragraphs = re.findall(r"^### (.*)$", TEXT.partition("\n## Differences\n")[2], re.MULTILINE)
    assert {difference.paragraph for difference in DIFFERENCES} <= set(paragraphs)


def test_limits_are_told_as_they_are() -> None:
    told = section("## Limits")
    for limit in (ROWS_TOUCHED_MAX, ELEMENTS_READ_MAX, CALL_ARGUMENTS_MAX):
        assert f"| {limit:,} |" in told
    assert f"1 to {KEY_SIZE_BYTES_MAX} bytes" in told
    assert f"may look at | {RANGE_KEYS_MAX:,} |" in told
    given = f"{GIVEN_MAX:,}, and no more behind the first {GIVEN_SIZE_BYTES >> 20} MiB"
    assert f"one `XAUTOCLAIM` claims | {given}" in told
    looks = ELEMENTS_READ_MAX // (LOOK_COST + 1), ELEMENTS_READ_MAX // LOOK_COST
    assert f"| {CLAIM_LOOKS_MAX:,}; {looks[0]:,}, or {looks[1]:,} |" in told
    assert f"a group, or of a consumer | {GROUPS_MAX}; {NAME_SIZE_BYTES_MAX >> 10} KiB |" in told
    assert f"| {KEYS_FOUND_MAX:,}, and {KEYS_FOUND_SIZE_BYTES_MAX >> 20} MiB |" in told
    assert f"`SCAN` | {GLOB_SIZE_BYTES_MAX} bytes |" in told
    assert f"{CURSORS_MAX:,} others" in section("## Scans")
    assert f"| {SUBSCRIPTIONS_MAX:,} and {PATTERNS_MAX:,} at a node" in told
    assert f"| {TRACKED_KEYS_MAX:,} at a node, once for each connection" in told
    assert f"| {PREFIXES_MAX} |" in told
    assert (
        f"{SCRIPT_SIZE_BYTES_MAX >> 10} KiB; {STEPS_MAX:,} steps, {CALLS_PER_ACT_MAX:,} calls,"
        f" {TIME_S_MAX:g} s, {MEMORY_SIZE_BYTES_MAX >> 20} MiB of memory;"
        f" it names {SINCE_MAX:,} keys" in told
    )
    assert f"texts of {READ_SIZE_BYTES_MAX >> 20} MiB; some {WRITTEN_MAX:,} values" in told
    assert f"| {REPLY_ELEMENTS_MAX:,} values, {REPLY_DEPTH_MAX} tables" in told
    assert f"in each other; strings of {ANSWERED_SIZE_BYTES_MAX >> 20} MiB in all" in told
    assert f"also within tables | {GIVEN_SIZE_BYTES_MAX >> 20} MiB |" in told
    places = ELEMENTS_READ_MAX // PLACE_COST, ELEMENTS_READ_MAX // (PLACE_COST + DISTANCE_COST)
    assert f"| {places[0]:,}; {places[1]:,} |" in told
    sketches = ELEMENTS_READ_MAX // SKETCH_COST, ELEMENTS_READ_MAX * HASHED_BYTES_PER_ELEMENT
    assert f"| {sketches[0]:,}; {sketches[1]:,} |" in told
    of_sketches = section("## Places, and HyperLogLogs")
    assert f"the last {COUNTED_MAX} results" in of_sketches
    assert f"Redis' {SPARSE_SIZE_BYTES_MAX}" in section("### HyperLogLogs")
    of_lua = section("### Scripts")
    assert f"has at most {FORMAT_SIZE_BYTES_MAX >> 10} KiB" in of_lua
    assert f"a coroutine counts as {STEPS_MAX // LOOKS_MAX:,} steps" in of_lua
    scripts = section("## Scripts")
    assert f"{SCRIPTS_MAX:,} scripts used last, up to {SCRIPTS_SIZE_BYTES_MAX >> 20} MiB" in scripts
    assert ATTEMPTS_MAX == 100  # in words
    pubsub = section("## Pub/sub")
    assert f"{WAITING_SIZE_BYTES_MAX >> 20} MiB of messages" in pubsub
    assert f"for {LATE_S_MAX:.0f} s" in pubsub
    assert CALLS_MAX == WATCHED_MAX
    assert f"| {CALLS_MAX} |" in told
