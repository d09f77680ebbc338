"""The simulator notices when a rule is missing (negative controls)."""

from __future__ import annotations

import pytest

from tests.sim.mutations import MUTATIONS, Mutation
from tests.sim.world import run


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.name.replace(" ", "-"))
def test_a_missing_rule_is_noticed(mutation: Mutation) -> None:
    with mutation.apply():
        for seed in range(mutation.first, mutation.first + mutation.seeds):
            if run(seed, mutation.profile).verdict is not None:
                return
    pytest.fail(f"{mutation.seeds} seeds of {mutation.profile} did not notice: {mutation.name}")
