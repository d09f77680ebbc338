"""The servers, once for all tests here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.differential.peers import NODE, STATE, servers
from tests.differential.search import Pair


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A redis-server and the state machine alone."""
    with servers(tmp_path_factory.mktemp("redis"), STATE) as pair:
        yield pair


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A redis-server and a node."""
    with servers(tmp_path_factory.mktemp("redis"), NODE) as pair:
        yield pair
