"""Places at the state: what random calls do not find; see tests/differential for all else."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Final

import pytest

from raftcache.command.calls import NEWER_CALLS, Calls
from raftcache.command.replies import CallsReply
from raftcache.command.values import Digits, Failure, Value, pack_values, unpack_values
from raftcache.server.resp.encode import encode
from raftcache.state.machine import Machine
from raftcache.state.redis import geo, geo_search
from raftcache.state.redis.geo_search import DISTANCE_COST, PIECE, PLACE_COST, distance_m
from raftcache.state.redis.geohash import Place, place_of, score_of
from raftcache.state.redis.store import ELEMENTS_READ_MAX
from raftcache.state.redis.trigonometry import OF_ALL, OF_MACHINE, Trigonometry
from tests.unit.test_machine import do
from tests.unit.test_redis_core import copy
from tests.unit.test_redis_streams import said, write

SICILY: Final = "GEOADD sicily 13.361389 38.115556 Palermo 15.087269 37.502669 Catania"
TOO_MANY: Final = f"ERR one call looks at up to {ELEMENTS_READ_MAX} elements: scan, or take a range"


def read(machine: Machine, line: str) -> Value:
    [value] = machine.call([tuple(line.encode().split())], 0, 0)
    return value


def random_place(dice: random.Random, latitude_max: float = 85.0) -> Place:
    return Place(dice.uniform(-180, 180), dice.uniform(-latitude_max, latitude_max))


def with_places(places: list[Place]) -> Machine:
    machine = Machine()
    for at in range(0, len(places), 1000):
        words = [
            word
            for number, place in enumerate(places[at : at + 1000], at)
            for word in (b"%r" % place.longitude, b"%r" % place.latitude, b"%d" % number)
        ]
        assert write(machine, b"GEOADD", b"k", *words) == len(words) // 3
    return machine


def test_what_the_manual_of_redis_shows() -> None:
    machine = Machine()
    assert said(machine, SICILY) == [2]
    palermo = [Digits(b"13.36138933897018433"), Digits(b"38.11555639549629859")]
    assert read(machine, "GEODIST sicily Palermo Catania km") == b"166.2742"
    assert read(machine, "GEOHASH sicily Palermo Catania") == [b"sqc8b49rny0", b"sqdtr74hyu0"]
    assert read(machine, "GEOPOS sicily Palermo")[0] == palermo
    around = "FROMLONLAT 15 37 BYBOX 400 400 km DESC WITHDIST WITHHASH"
    assert read(machine, f"GEOSEARCH sicily {around}") == [
        [b"Palermo", b"190.4424", 3479099956230698],
        [b"Catania", b"56.4413", 3479447370796909],
    ]
    assert read(machine, "ZSCORE sicily Palermo") == 3479099956230698.0


def test_degrees_have_all_their_digits() -> None:
    [value] = unpack_values(pack_values([Digits(b"13.36138933897018433")]))
    assert encode(value, 2) == b"$20\r\n13.36138933897018433\r\n"
    assert encode(value, 3) == b",13.36138933897018433\r\n"


def test_a_score_is_a_place() -> None:
    dice = random.Random(1)
    for _ in range(2000):
        place = random_place(dice)
        score = score_of(place)
        found = place_of(float(score))
        assert score_of(found) == score
        assert abs(found.longitude - place.longitude) < 360 / (1 << 26)
        assert abs(found.latitude - place.latitude) < 180 / (1 << 26)


def exactly(name: str, number: float) -> float:
    """By series of 60 digits."""
    with localcontext() as context:
        context.prec = 60
        x = Decimal(number)
        if name == "asin":
            angle = Decimal(math.asin(number))
            for _ in range(4):  # Newton's way
                angle -= (_sum(angle, angle) - x) / _sum(Decimal(1), angle)
            return float(angle)
        return float(_sum(x if name == "sin" else Decimal(1), x))


def _sum(first: Decimal, angle: Decimal) -> Decimal:
    total, term, step = first, first, 2 if first == angle else 1
    while abs(term) > Decimal(10) ** -58:
        term = -term * angle * angle / (step * (step + 1))
        total, step = total + term, step + 2
    return total


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("sin", -3.2, 3.2),
        ("sin", -1e-6, 1e-6),
        ("cos", -3.2, 3.2),
        ("asin", 0, 0.9),
        ("asin", 0, 1e-6),
    ],
)
def test_what_every_node_computes_is_the_nearest_double(name: str, low: float, high: float) -> None:
    dice, function = random.Random(2), getattr(OF_ALL, name)
    for _ in range(300):
        number = dice.uniform(low, high)
        assert function(number) == exactly(name, number), number


def test_the_ends_of_the_arcsine() -> None:
    assert [OF_ALL.asin(number) for number in (0.0, 1.0)] == [0.0, math.pi / 2]
    for exponent in range(1, 53):
        near = 1 - 2.0**-exponent
        assert OF_ALL.asin(near) == pytest.approx(math.asin(near), rel=1e-15)


def of_another_machine() -> Trigonometry:
    """One whose library is a little wrong, in another way at each number."""

    def wrong(function: Callable[[float], float]) -> Callable[[float], float]:
        def answered(number: float) -> float:
            return math.nextafter(function(number), 2.0 * (hash(number) % 2))

        return answered

    return Trigonometry(wrong(math.sin), wrong(math.cos), lambda x: wrong(math.asin)(x))


def test_whatever_library_a_node_has_its_state_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def play() -> tuple[bytes, list[Value]]:
        dice = random.Random(3)
        machine = with_places([random_place(dice) for _ in range(400)])
        told: list[Value] = []
        for _ in range(60):
            middle = random_place(dice)
            around = f"FROMLONLAT {middle.longitude!r} {middle.latitude!r}"
            shape = f"{around} BYRADIUS {dice.uniform(100, 4000)!r} km"
            told += said(
                machine,
                f"GEOSEARCHSTORE d k {shape} STOREDIST",
                f"GEOSEARCH k {shape} ASC COUNT 9 WITHDIST",
                f"GEOSEARCH k {around} BYBOX 1000 {dice.uniform(100, 4000)!r} km",
                f"GEODIST k {dice.randrange(400)} {dice.randrange(400)}",
            )
        return b"".join(machine.dump()), told

    here = play()
    monkeypatch.setattr(geo_search, "OF_MACHINE", of_another_machine())
    assert play() == here


def test_who_reads_is_told_the_same_as_who_writes() -> None:
    dice = random.Random(4)
    machine = with_places([random_place(dice) for _ in range(300)])
    for _ in range(100):
        middle = random_place(dice)
        around = f"FROMLONLAT {middle.longitude!r} {middle.latitude!r}"
        line = f"GEOSEARCH k {around} BYRADIUS {dice.uniform(0, 9000)!r} km ASC"
        assert read(machine, line) == said(machine, line)[0]


def test_a_search_finds_what_is_within() -> None:
    dice = random.Random(5)
    places = [random_place(dice, 70) for _ in range(500)]
    machine = with_places(places)
    kept = [place_of(score_of(place)) for place in places]
    for _ in range(200):
        middle, radius_m = random_place(dice, 70), 10 ** dice.uniform(3, 6.4)
        around = f"FROMLONLAT {middle.longitude!r} {middle.latitude!r}"
        found = read(machine, f"GEOSEARCH k {around} BYRADIUS {radius_m!r} m")
        distances = [distance_m(OF_MACHINE, middle, place) for place in kept]
        within = [b"%d" % n for n, distance in enumerate(distances) if distance <= radius_m]
        across = abs(middle.longitude) > 120  # Redis does not look for all of it there
        assert set(found) <= set(within) if across else sorted(found) == sorted(within)


def test_a_search_stops_before_it_takes_too_long() -> None:
    dice = random.Random(6)
    count = ELEMENTS_READ_MAX // PLACE_COST + 1
    machine = with_places([random_place(dice) for _ in range(count)])
    everywhere = "FROMLONLAT 0 0 BYRADIUS 30000 km"
    assert read(machine, f"GEOSEARCH k {everywhere}") == Failure(TOO_MANY)
    assert read(machine, "GEOPOS k" + " 7" * count) == Failure(TOO_MANY)
    assert said(machine, "ZREM k 0") == [1]
    assert len(read(machine, f"GEOSEARCH k {everywhere}")) == count - 1
    before = machine.digest
    assert said(machine, f"GEOSEARCHSTORE d k {everywhere}") == [Failure(TOO_MANY)]
    assert machine.digest == before
    most = ELEMENTS_READ_MAX // (PLACE_COST + DISTANCE_COST) - PIECE
    assert len(said(machine, f"GEOSEARCH k {everywhere} COUNT {most} ANY")[0]) == most


def test_calls_that_older_nodes_know_do_not_know_places() -> None:
    assert geo.CALLS.keys() <= NEWER_CALLS
    reply = do(Machine(), Calls((tuple(SICILY.encode().split()),), 1000))
    assert isinstance(reply, CallsReply)
    assert reply.values == (Failure("ERR unknown command 'GEOADD'"),)


def test_places_are_a_sorted_set_in_images() -> None:
    machine = Machine()
    said(machine, SICILY, "GEOSEARCHSTORE d sicily FROMMEMBER Palermo BYRADIUS 200 km STOREDIST")
    other = copy(machine)
    assert read(other, "ZRANGE d 0 -1") == [b"Palermo", b"Catania"]
    assert read(other, "TYPE d") == "zset"
