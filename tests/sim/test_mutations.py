"""The simulator notices when a rule is missing (negative controls)."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sim.__main__ import main
from tests.sim.epochs import to_the_end
from tests.sim.mutation import Mutation, happens_anyway
from tests.sim.mutations import BY_SWITCH, MUTATIONS
from tests.sim.world import World

MISTAKES = ("AttributeError", "ImportError", "NameError", "TypeError", "UnboundLocalError")
"""Of a control, not of what it removes."""


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.name.replace(" ", "-"))
def test_a_missing_rule_is_noticed(mutation: Mutation) -> None:
    for seed in mutation.range:
        verdict = mutation.run(seed, mutation.profile).verdict
        if verdict is not None:
            assert verdict.kind not in MISTAKES, f"the control does not work: {verdict}"
            return
    pytest.fail(f"{mutation.seeds} seeds of {mutation.profile} did not notice: {mutation.name}")


TOLD = {(m.story, m.profile, m.first): m for m in MUTATIONS if m.story is not happens_anyway}


@pytest.mark.parametrize("mutation", TOLD.values(), ids=lambda m: f"{m.story.__name__}-{m.profile}")
def test_a_story_breaks_nothing_while_all_rules_are_there(mutation: Mutation) -> None:
    for seed in (mutation.first, mutation.first + 1):
        world = World(seed, mutation.profile)
        mutation.story(world)
        verdict = to_the_end(world).verdict
        assert verdict is None, f"seed {seed}: {verdict}"


@pytest.mark.parametrize(
    "word",
    [
        "no-fsync",
        "local-reads",
        "no-majority",
        "no-idempotency",
        "no-undo",
        "own-dice",
        "no-watch",
        "wall-clock",
        "any-cluster",
        "lost-members",
        "tail",
        "certain",
        "no-bump",
        "old-watch",
        "old-backup",
        "torn-backup",
        "stock",
    ],
)
def test_the_promises_have_controls_that_the_command_line_knows(word: str) -> None:
    assert BY_SWITCH[word].word == word


@pytest.fixture
def process() -> Iterator[None]:
    """What the command line sets for its whole process is put back."""
    thresholds = gc.get_threshold()
    yield
    logging.disable(logging.NOTSET)
    gc.set_threshold(*thresholds)


@pytest.mark.usefixtures("process")
def test_the_command_line_plays_a_control_and_says_what_broke(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.md"
    assert main(["--control", "no-majority", "--seeds", "1-2", "--report", str(report)]) == 1
    assert "2 of 2 runs failed" in capsys.readouterr().out
    assert "| mixed | 2 | 2 |" in report.read_text()
    assert "committed without a durable majority" in report.read_text()


@pytest.mark.usefixtures("process")
def test_the_command_line_plays_several_profiles_and_a_trace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.md"
    assert main(["--profile", "calm,single", "--seeds", "1-2", "--report", str(report)]) == 0
    for row in ("| calm | 2 | 0 |", "| single | 2 | 0 |", "| all | 4 | 0 |"):
        assert row in report.read_text()
    assert main(["--profile", "single", "--seeds", "1-2", "--nodes", "3"]) == 0
    assert "0 of 0 runs failed" in capsys.readouterr().out
    assert main(["--profile", "single", "--seeds", "1", "--trace"]) == 0
    assert "n1 starts its life 1" in capsys.readouterr().out
