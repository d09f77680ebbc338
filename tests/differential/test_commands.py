"""raftcache beside a redis-server: the same calls, the same replies, but for what the docs list.

More examples: RAFTCACHE_EXAMPLES=10 (times as many), another seed: RAFTCACHE_SEED=n. The long form,
which does not stop at the first difference, is scripts/differential.
"""

from __future__ import annotations

import os
from typing import Final

import pytest

from tests.differential.events import Listening
from tests.differential.families import FAMILIES
from tests.differential.judge import DIFFERENCES, Difference
from tests.differential.play import Step
from tests.differential.scripted import SCRIPTS
from tests.differential.search import Example, Pair, search

SEED: Final = int(os.environ.get("RAFTCACHE_SEED", "0"))
TIMES: Final = float(os.environ.get("RAFTCACHE_EXAMPLES", "1"))
EXAMPLES_OF_STATE: Final = 60
EXAMPLES_OF_NODE: Final = 40
EXAMPLES_OF_EVENTS: Final = 15

OF_DOORS: Final = {"blocking", "transactions", "connection", "scripts"}
"""What only a door has."""


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in OF_DOORS])
def test_the_state_answers_as_redis_does(state: Pair, name: str) -> None:
    compare(state, name, EXAMPLES_OF_STATE)


@pytest.mark.cluster
@pytest.mark.parametrize("name", FAMILIES)
def test_a_node_answers_as_redis_does(node: Pair, name: str) -> None:
    compare(node, name, EXAMPLES_OF_NODE)


@pytest.mark.cluster
@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in OF_DOORS])
def test_a_node_tells_the_events_that_redis_tells(node: Pair, name: str) -> None:
    compare(Listening(*node), name, EXAMPLES_OF_EVENTS)


@pytest.mark.cluster
@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.name)
def test_what_is_listed_as_a_difference_is_one(node: Pair, difference: Difference) -> None:
    steps = tuple(Step(0, tuple(line.split())) for line in difference.witness)
    differs = node.play(Example(steps, clients=1, protocol=2, whole=difference.is_quick))
    assert differs is not None, "it has gone: take it off the list, and out of docs/REDIS.md"
    assert differs.step == steps[-1]
    assert differs.is_meant is difference


@pytest.mark.cluster
def test_every_script_answers_as_redis_does(node: Pair) -> None:
    steps = tuple(Step(0, (b"EVAL", script, b"0")) for script in SCRIPTS)
    differs = node.play(Example(steps, clients=1, protocol=2, whole=False))
    assert differs is None, differs


def compare(pair: Pair, name: str, examples: int) -> None:
    family = FAMILIES[name]
    count = round(examples * TIMES * family.weight)
    print(f"seed {SEED}, {count} examples")
    found = search(pair, family, count, SEED)
    again = f"scripts/differential --families {name} --seed {SEED} --examples {examples}"
    assert not found.differences, f"{found}\nall of them: {again}"
