"""Images of a state: all of it as bytes, and a machine that begins with them."""

from __future__ import annotations

from hypothesis import strategies as st

from raftcache.errors import BadConfig, Corrupt
from raftcache.state.machine import Machine


def image_of(machine: Machine) -> bytes:
    """All of its state."""
    return b"".join(machine.dump())


def restored(image: bytes, into: Machine | None = None) -> Machine:
    """A machine that has loaded it; a new one, unless another one is to begin with it."""
    machine = Machine() if into is None else into
    loader = machine.loader()
    loader.feed(image)
    loader.install()
    return machine


def check_that_damage_shows(machine: Machine, data: st.DataObject) -> None:
    """With any byte of it another one, its image is refused, or says the same."""
    image = bytearray(image_of(machine))
    at = data.draw(st.integers(0, len(image) - 1))
    image[at] ^= data.draw(st.integers(1, 255))
    try:
        other = restored(bytes(image))
    except (Corrupt, BadConfig):  # BadConfig: the version is damaged, and reads as a newer one
        return
    assert image_of(other) == image_of(machine)
