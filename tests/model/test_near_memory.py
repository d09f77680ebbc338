"""The near cache's memory against the whole history of a store: coherent, monotonic, bounded."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from raftcache.client import Change, Changes, Entry
from raftcache.client.near_memory import ENTRY_SIZE_BYTES, Known, NearMemory

KEYS = [b"a", b"b", b"c"]
KEPT_MAX = 2
STALENESS_S_MAX = 10.0
keys = st.sampled_from(KEYS)


class NearMemoryMachine(RuleBasedStateMachine):
    """A store, a watch that lags, and reads whose answers come late, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 100.0
        self.history: list[tuple[bytes, Entry | None]] = []  # revision r is at r - 1
        self.acknowledged_s: list[float] = []
        self.sent: dict[bytes, tuple[float, int | None]] = {}  # asked for, answered at
        self.asked: list[tuple[float, int]] = []  # revisions asked for, not come yet
        self.shown: dict[bytes, int] = {}  # key -> the change that was seen last
        self.memory = NearMemory(KEPT_MAX * (ENTRY_SIZE_BYTES + 10), STALENESS_S_MAX)
        self.reached = 0
        self.memory.restart(0, self.now_s)

    # --- the store ------------------------------------------------------------------------------

    def last_change(self, key: bytes, at: int) -> int:
        """The revision of the key's last change up to one; 0 if it has none."""
        return max((r for r in range(1, at + 1) if self.history[r - 1][0] == key), default=0)

    def state(self, key: bytes, at: int) -> Entry | None:
        last = self.last_change(key, at)
        return self.history[last - 1][1] if last else None

    @rule(key=keys, exists=st.booleans())
    def write(self, key: bytes, exists: bool) -> None:
        revision = len(self.history) + 1
        entry = Entry(key, b"%d" % revision, "", revision, 1, 1, None) if exists else None
        self.history.append((key, entry))
        self.acknowledged_s.append(self.now_s)

    @rule(by_s=st.sampled_from([0.5, 3.0, 11.0]))
    def pass_time(self, by_s: float) -> None:
        self.now_s += by_s

    # --- what comes to the memory ---------------------------------------------------------------

    @precondition(lambda self: self.reached < len(self.history))
    @rule(by=st.integers(1, 3), is_progress=st.booleans())
    def watch(self, by: int, is_progress: bool) -> None:
        for _ in range(min(by, len(self.history) - self.reached)):
            self.reached += 1
            key, entry = self.history[self.reached - 1]
            change = Change("put" if entry else "delete", key, entry)
            self.memory.apply(Changes(self.reached, (change,)))
        if is_progress:
            self.memory.apply(Changes(self.reached, ()))

    @rule()
    def the_history_is_forgotten(self) -> None:
        self.reached = len(self.history)
        self.memory.restart(self.reached, self.now_s)

    @rule(key=keys, is_answered=st.booleans())
    def send_a_read(self, key: bytes, is_answered: bool) -> None:
        """Which a node answers at once, but the answer travels."""
        if key not in self.sent:
            self.memory.expect(key)
            self.sent[key] = (self.now_s, len(self.history) if is_answered else None)

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), fails=st.sampled_from([False, False, False, True]))
    def receive_an_answer(self, data: st.DataObject, fails: bool) -> None:
        """Linearizable: of what the store was at a moment since it was sent."""
        key = data.draw(st.sampled_from(sorted(self.sent)))
        asked_s, at = self.sent.pop(key)
        if fails:
            self.memory.unexpect(key)
            return
        at = len(self.history) if at is None else at
        self.memory.confirm(asked_s, at)
        found = self.memory.fill(key, self.state(key, at), at, asked_s)
        assert found.as_of >= at
        self.see(key, found, found.as_of)

    @rule()
    def ask_for_the_revision(self) -> None:
        self.asked.append((self.now_s, len(self.history)))

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def hear_of_the_revision(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.asked) - 1))
        self.memory.confirm(*self.asked.pop(at))

    # --- what it promises -----------------------------------------------------------------------

    @invariant()
    def all_that_is_answered_is_true(self) -> None:
        for key in KEYS:
            self.look_up(key, 0)

    @rule(key=keys, at_least=st.integers(0, 5))
    def look_up(self, key: bytes, at_least: int) -> None:
        found = self.memory.lookup(key, self.now_s, at_least)
        if found is None:
            return
        at = max(found.as_of, self.reached)
        assert at >= at_least
        self.see(key, found, at)
        long_ago = [s for s in self.acknowledged_s if s < self.now_s - STALENESS_S_MAX]
        assert at >= len(long_ago), "it misses what was acknowledged too long ago"

    def see(self, key: bytes, found: Known, at: int) -> None:
        """It is the truth of that revision, and not older than what was seen before."""
        assert found.entry == self.state(key, at)
        last = self.last_change(key, at)
        assert last >= self.shown.get(key, 0)
        self.shown[key] = last

    @invariant()
    def it_is_bounded(self) -> None:
        seen = self.memory.statistics
        assert seen.keys <= KEPT_MAX
        assert seen.size_bytes <= KEPT_MAX * (ENTRY_SIZE_BYTES + 10)
        assert self.memory.revision == self.reached


TestNearMemory = NearMemoryMachine.TestCase
TestNearMemory.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)
