"""How often the eviction policies hit, on traces that anybody can make again from a seed.

Keys count alike: a cache holds a share of all keys. A policy is driven as the evictor drives it:
every read is an access, a miss is a write, and victims are taken when there is no room. The perfect
LRU is written here once more, plainly; Belady's optimum knows the future (Belady, 1966).
"""

from __future__ import annotations

import argparse
import bisect
import heapq
import itertools
import random
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

from raftcache.config import Eviction
from raftcache.service.eviction.policies import Policy
from raftcache.service.eviction.shares import policy_of

SHARES = (0.01, 0.1)
POLICIES = (Eviction.ALLKEYS_LRU, Eviction.ALLKEYS_LFU, Eviction.ALLKEYS_SIEVE)
Trace = Sequence[int]


def zipf(dice: random.Random, keys: int, requests: int, skew: float) -> Trace:
    """Independent reads; the i-th popular key has the weight 1 / i ** skew."""
    totals = list(itertools.accumulate(1 / i**skew for i in range(1, keys + 1)))
    names = list(range(keys))
    dice.shuffle(names)
    top = totals[-1]
    return [names[bisect.bisect(totals, dice.random() * top)] for _ in range(requests)]


def scan_heavy(dice: random.Random, keys: int, requests: int) -> Trace:
    """Zipf 1.0, cut into by scans over keys of their own, which make up half of all requests."""
    popular, trace, at = iter(zipf(dice, keys, requests, 1.0)), list[int](), keys
    while len(trace) < requests:
        length = dice.randint(keys // 50, keys // 10)
        trace += itertools.islice(popular, length)
        trace += range(at, at + length)
        at = keys if at > 5 * keys else at + length
    return trace[:requests]


def moving(dice: random.Random, keys: int, requests: int) -> Trace:
    """Zipf 1.0, whose popular keys are others after every tenth of the requests."""
    parts = [zipf(dice, keys, requests // 10, 1.0) for _ in range(10)]
    return [key for part in parts for key in part]


def hits(policy: Policy, trace: Trace, room: int) -> int:
    """Of a cache with room for so many keys that evicts by the policy."""
    names = {key: b"%d" % key for key in set(trace)}
    held, count = set[bytes](), 0
    for number in trace:
        key = names[number]
        if key in held:
            count += 1
            policy.access(key)
            continue
        if len(held) >= room:
            victim = policy.take()
            assert victim is not None
            held.remove(victim)
        held.add(key)
        policy.add(key)
    return count


def hits_of_perfect_lru(trace: Trace, room: int) -> int:
    held, count = OrderedDict[int, None](), 0
    for key in trace:
        if key in held:
            count += 1
            held.move_to_end(key)
            continue
        if len(held) >= room:
            held.popitem(last=False)
        held[key] = None
    return count


def hits_of_optimum(trace: Trace, room: int) -> int:
    """Evicts what is used again the latest."""
    never = len(trace)
    following, last = [never] * len(trace), dict[int, int]()
    for place in range(len(trace) - 1, -1, -1):
        following[place] = last.get(trace[place], never)
        last[trace[place]] = place
    held, latest, count = dict[int, int](), list[tuple[int, int]](), 0
    for place, key in enumerate(trace):
        if key in held:
            count += 1
        elif len(held) >= room:
            while True:
                next_use, victim = heapq.heappop(latest)
                if held.get(victim) == -next_use:
                    break
            del held[victim]
        held[key] = following[place]
        heapq.heappush(latest, (-following[place], key))
    return count


MEMORY = """
import gc, sys
from raftcache.command import codec
from raftcache.command.words import Put
from raftcache.config import Eviction
from raftcache.service.eviction.shares import policy_of
from raftcache.state.machine import Machine
def resident():
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * int(next(l for l in lines if l.startswith("VmRSS")).split()[1])
keys, value, ttl, eviction = int(sys.argv[1]), bytes(int(sys.argv[2])), sys.argv[3], sys.argv[4]
machine, policy = Machine(1 << 10), policy_of(Eviction(eviction))
names = [b"user:%012d:x" % (i * 7919 % keys) for i in range(keys)]
gc.collect()
before = resident()
for start in range(0, keys, 500):
    puts = [Put(n, value, ttl_ms=10**9 if ttl == "ttl" else None) for n in names[start:start + 500]]
    for event in machine.apply(1000, codec.batch([codec.encode(p) for p in puts])): pass
if policy is not None:
    last = b""
    while some := machine.keys_after(last, 1000):
        last = some[-1]
        for name in some:
            policy.add(name)
gc.collect()
counted = machine.memory_size_bytes + machine.history.size_bytes
counted += keys * (policy.KEY_COST_BYTES if policy else 0)
print((resident() - before) / keys, counted / keys)
"""


def print_memory(keys: int) -> None:
    print("\n| keys of 19 bytes, values of | what the process takes a key | counted | error |")
    print("| --- | --- | --- | --- |")
    for size, ttl, eviction in (
        (10, "", "noeviction"),
        (100, "", "noeviction"),
        (1000, "", "noeviction"),
        (100, "ttl", "noeviction"),
        (100, "", "allkeys-lru"),
        (100, "", "allkeys-sieve"),
        (100, "", "allkeys-lfu"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, str(keys), str(size), ttl, eviction],
            check=True,
            capture_output=True,
            text=True,
            cwd=Path(__file__).parent.parent,
        )
        took, counted = map(float, done.stdout.split())
        more = ", with a deadline" * bool(ttl) + f", {eviction}" * (eviction != "noeviction")
        print(f"| {size}{more} | {took:.0f} | {counted:.0f} | {counted / took - 1:+.0%} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=20_000)
    parser.add_argument("--requests", type=int, default=400_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    print(f"seed {asked.seed}, {asked.keys} keys, {asked.requests} requests\n")
    made: dict[str, Callable[[random.Random, int, int], Trace]] = {
        "Zipf 0.8": lambda dice, keys, requests: zipf(dice, keys, requests, 0.8),
        "Zipf 1.0": lambda dice, keys, requests: zipf(dice, keys, requests, 1.0),
        "Zipf 1.2": lambda dice, keys, requests: zipf(dice, keys, requests, 1.2),
        "scan-heavy": scan_heavy,
        "moving": moving,
    }
    columns = [str(eviction) for eviction in POLICIES]
    print("| trace, room for | perfect LRU |", " | ".join(columns), "| optimum |")
    print("| --- |" + " --- |" * (len(columns) + 2))
    for name, make in made.items():
        trace = make(random.Random(asked.seed), asked.keys, asked.requests)
        for share in SHARES:
            room = max(1, int(asked.keys * share))
            counts = [hits_of_perfect_lru(trace, room)]
            for eviction in POLICIES:
                policy = policy_of(eviction)
                assert policy is not None
                counts.append(hits(policy, trace, room))
            counts.append(hits_of_optimum(trace, room))
            row = " | ".join(f"{count / len(trace):.1%}" for count in counts)
            print(f"| {name}, {share:.0%} of the keys | {row} |", flush=True)
    print_memory(10 * asked.keys)


if __name__ == "__main__":
    main()
