"""Ratios → kept channels: exact, and known before anything is pruned."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from raytune_edge.errors import PlanError
from raytune_edge.pruning.groups import Group, Groups, table

__all__ = ["Plan", "counts_to_ratios", "kept_channels", "plan", "ratio_steps"]

logger = logging.getLogger(__name__)

_FLOAT_ERROR = 1e-6


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How many channels each group keeps; prints as a table.

    Attributes:
        kept: Channels that each group keeps.
        channels: Channels that each group has unpruned.
        asked: Fraction of the channels that was asked to be removed.
    """

    kept: Mapping[str, int]
    channels: Mapping[str, int]
    asked: Mapping[str, float]

    @property
    def reached(self) -> dict[str, float]:
        """Fraction of each group's channels that is removed."""
        return {name: 1 - kept / self.channels[name] for name, kept in self.kept.items()}

    @property
    def keeps_all(self) -> bool:
        """Whether nothing is pruned."""
        return all(kept == self.channels[name] for name, kept in self.kept.items())

    def to_dict(self) -> dict[str, Any]:
        """As plain values that JSON can carry; `from_dict` is the inverse."""
        return {name: dict(getattr(self, name)) for name in ("kept", "channels", "asked")}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plan:
        """Inverse of `to_dict`.

        Raises:
            PlanError: If a part is missing.
        """
        try:
            return cls(**{name: dict(values[name]) for name in ("kept", "channels", "asked")})
        except KeyError as error:
            raise PlanError(f"not a whole Plan: {error} is missing") from error

    def __str__(self) -> str:
        reached = self.reached
        rows = (
            (
                name,
                str(self.channels[name]),
                str(kept),
                f"{self.asked[name]:.3f}",
                f"{reached[name]:.3f}",
            )
            for name, kept in self.kept.items()
        )
        return table(("group", "channels", "kept", "asked", "reached"), rows)


def plan(
    groups: Groups, ratios: Mapping[str, float], *, round_to: int = 8, min_keep: int = 8
) -> Plan:
    """Work out the channels that each group keeps.

    Never fewer channels than asked for are kept: rounding goes up, to a multiple of ``round_to``
    and of what the group's grouped convolutions need, and never above what is there.

    Args:
        groups: From `prunable_groups`.
        ratios: Fraction of the channels to remove, in [0, 1), by group. Any member's name stands
            for its group; groups that are not named keep all their channels.
        round_to: Kept channels are a multiple of this, or all of the channels.
        min_keep: Least channels that a group keeps; one that has no more keeps all.

    Raises:
        PlanError: For a ratio out of range, an unknown name, or two members of one group with
            different ratios.
    """
    asked = dict.fromkeys((group.name for group in groups), 0.0)
    named_by: dict[str, str] = {}
    for layer, ratio in ratios.items():
        group = groups.named(layer)
        if not -_FLOAT_ERROR <= ratio < 1:
            raise PlanError(f"pruning ratio of {layer}: expected 0 <= ratio < 1, got {ratio!r}")
        other = named_by.setdefault(group.name, layer)
        if other != layer and abs(asked[group.name] - ratio) > _FLOAT_ERROR:
            raise PlanError(
                f"{other} and {layer} are in one group ({group.name}) and must be pruned alike, "
                f"got {asked[group.name]:g} and {ratio:g}"
            )
        asked[group.name] = max(float(ratio), 0.0)
    made = Plan(
        kept={
            group.name: kept_channels(group, asked[group.name], round_to, min_keep)
            for group in groups
        },
        channels={group.name: group.channels for group in groups},
        asked=asked,
    )
    for name, reached in made.reached.items():
        if asked[name] > 0:
            logger.info(
                "%s: asked to remove %.3f of %d channels, removes %.3f and keeps %d",
                name,
                asked[name],
                made.channels[name],
                reached,
                made.kept[name],
            )
    return made


def kept_channels(group: Group, ratio: float, round_to: int, min_keep: int) -> int:
    """Channels that ``group`` keeps when ``ratio`` of them are asked to go.

    >>> group = Group(name="c", members=("c",), channels=20, multiple=1, residual=False)
    >>> [kept_channels(group, ratio, 8, 8) for ratio in (0, 0.1, 1 / 3, 0.5, 2 / 3, 0.99)]
    [20, 20, 16, 16, 8, 8]
    """
    step = math.lcm(round_to, group.multiple)
    least = step * math.ceil(max(min_keep, 1) / step)
    wanted = step * math.ceil(group.channels * (1 - ratio) / step - _FLOAT_ERROR)
    return min(group.channels, max(least, wanted))


def ratio_steps(group: Group, round_to: int, min_keep: int) -> tuple[float, int]:
    """The grid of ratios that mean different networks: ``(step, count)``.

    The grid's ratios are ``0, step, ..., count * step``; each keeps a different number of
    channels, and every number that `kept_channels` can give is there. ``count`` is 0 where the
    group can't be pruned.

    With ``m`` the channels in steps of what they are rounded to, rounded up, ratio ``k / m``
    keeps ``m - k`` steps: ``channels * (m - k) / m`` is above ``m - k - 1`` steps, and rounds up.
    """
    step = math.lcm(round_to, group.multiple)
    in_steps = math.ceil(group.channels / step)
    least = math.ceil(max(min_keep, 1) / step)
    return 1 / in_steps, max(0, in_steps - least)


def counts_to_ratios(
    group: Group, counts: Iterable[int], round_to: int, min_keep: int
) -> set[float]:
    """The ratios that keep just these ``counts`` of the group's channels, and 0.

    Raises:
        PlanError: If rounding never keeps one of them.
    """
    kept = {
        ratio: kept_channels(group, ratio, round_to, min_keep)
        for ratio in (0.0, *(1 - count / group.channels for count in counts))
    }
    if never := sorted(set(counts) - set(kept.values())):
        raise PlanError(
            f"{group.name} has {group.channels} channels and never keeps {never} of them with "
            f"round_to={round_to} and min_keep={min_keep}; make the counts with the recipe's own: "
            f"rte.ncs2.channel_grid(task, round_to={round_to}, min_keep={min_keep})"
        )
    return set(kept)
