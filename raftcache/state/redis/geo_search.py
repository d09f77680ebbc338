"""Searching a sorted set of places: what is within a circle, or a box, around one of them.

As Redis does it, for the order of what it finds is seen by callers: the cell that the middle is in
and those around it, each of which is one range of scores; in them, each place by its distance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

from msgspec import Struct

from raftcache.state.redis.geohash import STEPS, Area, Cell, Place, cell_of, place_of
from raftcache.state.redis.store import Store
from raftcache.state.redis.trigonometry import OF_ALL, OF_MACHINE, Trigonometry
from raftcache.state.redis.zset_rows import Pair, SortedSet, pack_score

_EARTH_RADIUS_M: Final = 6372797.560856
_EQUATOR_HALF_M: Final = 20037726.37
_RADIANS: Final = math.pi / 180
_COLD: Final = 66
_COLDER: Final = 80
"""Degrees of latitude, from which on cells are so narrow that larger ones are taken."""

_AROUND: Final = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1))
"""Cells to the east and the north, in Redis' order."""

_DOUBT: Final = 1e-6
"""No library of mathematics is so wrong, in proportion."""

PIECE: Final = 256
"""Of a range, that is looked at in one go."""

PLACE_COST: Final = 5
"""Of a place that is looked at, in elements: 3 µs."""

DISTANCE_COST: Final = 15
"""Of a distance that is the same on every node: 20 µs."""


def trigonometry_of(store: Store) -> Trigonometry:
    """What is answered through the log is the same on every node."""
    return OF_MACHINE if store.is_reader else OF_ALL


def distance_m(of: Trigonometry, one: Place, other: Place) -> float:
    """By the haversines, as Redis rounds them."""
    from_longitude, to_longitude = one.longitude * _RADIANS, other.longitude * _RADIANS
    v = of.sin((to_longitude - from_longitude) / 2)
    if v == 0.0:
        return _north_m(one, other)
    from_latitude, to_latitude = one.latitude * _RADIANS, other.latitude * _RADIANS
    u = of.sin((to_latitude - from_latitude) / 2)
    a = u * u + of.cos(from_latitude) * of.cos(to_latitude) * v * v
    return 2.0 * _EARTH_RADIUS_M * of.asin(min(math.sqrt(a), 1.0))


def _north_m(one: Place, other: Place) -> float:
    return _EARTH_RADIUS_M * abs(other.latitude * _RADIANS - one.latitude * _RADIANS)


class Found(NamedTuple):
    """A member within a shape."""

    member: bytes
    score: float
    place: Place
    distance_m: float


class Shape(Struct):
    """A circle, or a box, around a place. Lengths are in metres.

    is_box: width_m and height_m are those of a box; else both are the radius.
    """

    middle: Place = Place(0.0, 0.0)
    is_box: bool = False
    width: float = 0.0
    height: float = 0.0
    unit_m: float = 1.0

    def radius_m(self) -> float:
        """Of the circle around it."""
        if not self.is_box:
            return self.width * self.unit_m
        half_width, half_height = self.width / 2, self.height / 2
        return math.sqrt(half_width * half_width + half_height * half_height) * self.unit_m

    def distance_m(self, place: Place, of: Trigonometry) -> float | None:
        """From the middle; None for what is not within."""
        if not self.is_box:
            found = distance_m(of, self.middle, place)
            return None if found > self.width * self.unit_m else found
        if _north_m(place, self.middle) > self.height * self.unit_m / 2:
            return None
        beside = Place(self.middle.longitude, place.latitude)
        if distance_m(of, place, beside) > self.width * self.unit_m / 2:
            return None
        return distance_m(of, self.middle, place)

    def wider(self) -> Shape:
        """One that holds all that this one holds, with whatever trigonometry."""
        more = 1 + _DOUBT
        return Shape(self.middle, self.is_box, self.width * more, self.height * more, self.unit_m)

    def bounds(self, of: Trigonometry) -> Area:
        """The meridians and parallels around it, as Redis has them."""
        share = 0.5 if self.is_box else 1.0
        height_m, width_m = self.unit_m * (self.height * share), self.unit_m * (self.width * share)
        longitude, latitude = self.middle
        up = height_m / _EARTH_RADIUS_M / _RADIANS
        at = latitude - up if latitude < 0 else latitude + up
        aside = width_m / _EARTH_RADIUS_M / of.cos(at * _RADIANS) / _RADIANS
        return Area(longitude - aside, longitude + aside, latitude - up, latitude + up)


def _steps(radius_m: float, latitude: float) -> int:
    """So that the cell and those around it cover such a circle."""
    if radius_m == 0:
        return STEPS
    steps = -1
    while radius_m < _EQUATOR_HALF_M:
        radius_m *= 2
        steps += 1
    steps -= (abs(latitude) > _COLD) + (abs(latitude) > _COLDER)
    return min(max(steps, 1), STEPS)


def _cells(shape: Shape, of: Trigonometry) -> Iterator[Cell]:
    """Those that may hold what is within."""
    cell = cell_of(shape.middle, _steps(shape.radius_m(), shape.middle.latitude))
    around = list(_AROUND)
    if cell.steps > 1:
        bounds = shape.bounds(of)
        if _is_beyond(bounds, cell):
            cell = cell_of(shape.middle, cell.steps - 1)
        if cell.steps > 1:
            around = [each for each in around if _reaches(bounds, cell.area(), *each)]
    yield cell
    last = None
    for each in around:
        near = cell.beside(*each)
        if near != last:
            yield near
        last = near


def _is_beyond(bounds: Area, cell: Cell) -> bool:
    """Whether the cells around do not reach as far."""
    return (
        cell.beside(0, 1).area().north < bounds.north
        or cell.beside(0, -1).area().south > bounds.south
        or cell.beside(1, 0).area().east < bounds.east
        or cell.beside(-1, 0).area().west > bounds.west
    )


def _reaches(bounds: Area, area: Area, east: int, north: int) -> bool:
    """Whether the bounds go beyond a cell's area in that direction."""
    return not (
        (north < 0 and area.south < bounds.south)
        or (north > 0 and area.north > bounds.north)
        or (east < 0 and area.west < bounds.west)
        or (east > 0 and area.east > bounds.east)
    )


def _candidates(found: SortedSet, shape: Shape, of: Trigonometry) -> Iterator[Pair]:
    """The members in the cells around."""
    for cell in _cells(shape, of):
        start, stop = (found.rank_at(pack_score(float(score))) for score in cell.scores())
        for at in range(start, stop, PIECE):
            pairs = found.pairs(at, min(at + PIECE, stop))
            found.store.count_elements(len(pairs) * (PLACE_COST - 1))
            yield from pairs


def search(found: SortedSet, shape: Shape, count_max: int) -> list[Found]:
    """What is within, in Redis' order. count_max: to stop there, 0 for never."""
    of, within = trigonometry_of(found.store), list[Found]()
    wider, cost = (None, 0) if of is OF_MACHINE else (shape.wider(), DISTANCE_COST)
    for member, score in _candidates(found, shape, of):
        place = place_of(score)
        if wider is not None and wider.distance_m(place, OF_MACHINE) is None:
            continue  # for sure, so that nobody has to know better
        distance = shape.distance_m(place, of)
        if distance is None:
            continue
        found.store.count_elements(cost)
        within.append(Found(member, score, place, distance))
        if len(within) == count_max:
            break
    return within
