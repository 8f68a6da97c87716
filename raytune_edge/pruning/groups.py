"""Groups of channels that can only be pruned together, as plain records."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from raytune_edge.errors import PlanError

__all__ = ["Group", "Groups", "block_of", "table"]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Layers whose output channels are the same channels, so that they go together.

    Attributes:
        name: The first convolution among the members.
        members: Convolutions (and linear layers, in squeeze-and-excitation) whose outputs these
            channels are, in the model's order.
        channels: Number of channels in the unpruned model.
        multiple: Kept channels must be a multiple of this: grouped convolutions need it.
        residual: Whether the channels pass through a residual sum.
        stage: ``"stage1"``, ``"stage2"``, ...: the groups that work at one resolution, in order.
        block: The part of the model that holds ``name``: its path up to the first number.
    """

    name: str
    members: tuple[str, ...]
    channels: int
    multiple: int
    residual: bool
    stage: str = ""
    block: str = ""


class Groups(tuple[Group, ...]):
    """The prunable groups of a model, in the model's order; prints as a table."""

    __slots__ = ()

    def named(self, layer: str) -> Group:
        """The group that ``layer`` is a member of.

        Raises:
            PlanError: If there is none; it names those that look alike, and all.
        """
        for group in self:
            if layer in group.members:
                return group
        raise _unknown("group", layer, [group.name for group in self])

    def within(self, name: str) -> Groups:
        """The groups of a stage or a block, or the one group that a layer is a member of.

        Raises:
            PlanError: If there is no such name; it names those that look alike, and all.
        """
        for place in ("stage", "block"):
            if inside := [group for group in self if getattr(group, place) == name]:
                return Groups(inside)
        for group in self:
            if name in group.members:
                return Groups([group])
        known = [each for group in self for each in (group.stage, group.block, group.name)]
        raise _unknown("group, block or stage", name, dict.fromkeys(filter(None, known)))

    def __str__(self) -> str:
        titles = ("group", "channels", "multiple", "residual", "stage", "block", "members")
        rows = [
            (
                group.name,
                str(group.channels),
                str(group.multiple),
                "yes" if group.residual else "",
                group.stage,
                group.block,
                ", ".join(group.members[:3]) + (", ..." if len(group.members) > 3 else ""),
            )
            for group in self
        ]
        return table(titles, rows)


def block_of(layer: str) -> str:
    """The path of ``layer`` up to its first numbers, or its parent where it has none.

    >>> [block_of(layer) for layer in ("layer2.0.shortcut.0", "features.1.0.block.0", "stem.conv")]
    ['layer2.0', 'features.1.0', 'stem']
    """
    parts = layer.split(".")
    numbers = [place for place, part in enumerate(parts) if part.isdigit()]
    if not numbers:
        return ".".join(parts[:-1]) or layer
    end = numbers[0]
    while end < len(parts) and parts[end].isdigit():
        end += 1
    return ".".join(parts[:end])


def table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Rows of text under their titles, in columns as wide as they need."""
    lines = [titles, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _unknown(what: str, name: str, known: Iterable[str]) -> PlanError:
    """The error for a name that isn't there, with those that look alike and all there are."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ";"
    return PlanError(f"no {what} is called {name!r}{hint} there are {', '.join(known)}")
