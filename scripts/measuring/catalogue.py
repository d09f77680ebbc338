"""All sections, in the order in which they are measured and told."""

from __future__ import annotations

from scripts.measuring.model import Cell, Section

SECTIONS: tuple[Section, ...] = ()


def chosen(patterns: list[str], is_quick: bool) -> list[Cell]:
    """The cells that any pattern matches (all, without one), of the quick form if asked for."""
    from fnmatch import fnmatchcase

    cells = [cell for section in SECTIONS for cell in section.cells]
    return [
        cell
        for cell in cells
        if (cell.is_quick or not is_quick)
        and (not patterns or any(fnmatchcase(cell.name, pattern) for pattern in patterns))
    ]
