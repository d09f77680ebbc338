"""Places on the earth as numbers, by quarters of quarters: the geohash that Redis keeps as scores.

The ranges of longitude and latitude are halved step after step; the halves a place is in are the
bits of its number, those of the longitude first. With 26 steps a double holds it. A number with
fewer steps is a cell, which all places are in whose numbers begin so. The sums are those of Redis'
geohash.c, one after the other, for doubles are rounded in each.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from raftcache.command.integers import bits_of

STEPS: Final = 26
LONGITUDE_MAX: Final = 180.0
LATITUDE_MAX: Final = 85.05112878
"""Web maps end there; nothing nearer to a pole has a number."""

_STANDARD_LATITUDE_MAX: Final = 90.0
"""Of geohashes as text, which others read too."""

_ALPHABET: Final = b"0123456789bcdefghjkmnpqrstuvwxyz"
_TEXT_SIZE: Final = 11
_FAR: Final = float(1 << 63)

_SPREADS: Final = (
    (16, 0x0000FFFF0000FFFF),
    (8, 0x00FF00FF00FF00FF),
    (4, 0x0F0F0F0F0F0F0F0F),
    (2, 0x3333333333333333),
    (1, 0x5555555555555555),
)


class Place(NamedTuple):
    """Degrees."""

    longitude: float
    latitude: float


class Area(NamedTuple):
    """A cell's edges, in degrees."""

    west: float
    east: float
    south: float
    north: float


class Cell(NamedTuple):
    """x and y count cells from the west and the south, 2 ** steps of them."""

    x: int
    y: int
    steps: int

    def scores(self) -> tuple[int, int]:
        """Of the places in it: from the first, up to the second."""
        bits, more = _spread(self.x) << 1 | _spread(self.y), 2 * (STEPS - self.steps)
        return bits << more, (bits + 1) << more

    def beside(self, east: int, north: int) -> Cell:
        """So many cells further; the world is round, also across the poles, as Redis has it."""
        last = (1 << self.steps) - 1  # the easternmost meridian is in a cell behind it
        x = (self.x + east) & last if east else self.x
        y = (self.y + north) & last if north else self.y
        return Cell(x, y, self.steps)

    def area(self) -> Area:
        cells = 1 << self.steps
        return Area(
            -LONGITUDE_MAX + (self.x / cells) * (2 * LONGITUDE_MAX),
            -LONGITUDE_MAX + ((self.x + 1) / cells) * (2 * LONGITUDE_MAX),
            -LATITUDE_MAX + (self.y / cells) * (2 * LATITUDE_MAX),
            -LATITUDE_MAX + ((self.y + 1) / cells) * (2 * LATITUDE_MAX),
        )


def _spread(number: int) -> int:
    """32 bits with one of zero before each."""
    for by, mask in _SPREADS:
        number = (number | number << by) & mask
    return number


_EVERY_SECOND: Final = bytes(
    [sum((bits >> 2 * place & 1) << place for place in range(8)) for bits in range(1 << 16)]
)
"""Of 16 bits, the lowest one first."""


def _gathered(bits: int) -> int:
    """Every second of 64 bits; most of what a search does is this."""
    of = _EVERY_SECOND
    return (
        of[bits & 0xFFFF]
        | of[bits >> 16 & 0xFFFF] << 8
        | of[bits >> 32 & 0xFFFF] << 16
        | of[bits >> 48 & 0xFFFF] << 24
    )


def cell_of(place: Place, steps: int, latitude_max: float = LATITUDE_MAX) -> Cell:
    """The one of these steps that a place is in, which lies within the ranges."""
    x = (place.longitude + LONGITUDE_MAX) / (2 * LONGITUDE_MAX)
    y = (place.latitude + latitude_max) / (2 * latitude_max)
    return Cell(int(x * (1 << steps)), int(y * (1 << steps)), steps)


def score_of(place: Place) -> int:
    x, y, _ = cell_of(place, STEPS)
    return _spread(x) << 1 | _spread(y)


def place_of(score: float) -> Place:
    """The middle of the smallest cell; of whatever score, for anybody may give members one."""
    bits = bits_of(score)
    west, east, south, north = Cell(_gathered(bits >> 1), _gathered(bits), STEPS).area()
    longitude, latitude = (west + east) / 2, (south + north) / 2
    if east > LONGITUDE_MAX or north > LATITUDE_MAX:
        return Place(min(longitude, LONGITUDE_MAX), min(latitude, LATITUDE_MAX))
    return Place(longitude, latitude)


def signed(score: float) -> int:
    """A score as an integer with a sign, as processors make it."""
    return int(score) if -_FAR <= score < _FAR else -(1 << 63)


def text_of(place: Place) -> bytes:
    """The standard geohash, of 10 digits and a zero, for there are no more bits."""
    x, y, _ = cell_of(place, STEPS, _STANDARD_LATITUDE_MAX)
    bits = _spread(x) << 1 | _spread(y)
    digits = [bits >> (2 * STEPS - 5 * count) & 31 for count in range(1, _TEXT_SIZE)]
    return bytes([_ALPHABET[digit] for digit in (*digits, 0)])
