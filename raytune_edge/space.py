"""The search space, and what a point of it means.

A config is flat, since HyperOptSearch takes no nested ``points_to_evaluate`` and Tune splits names
at slashes: ``"pruning_ratio:<name>"`` where the name is a group's, a block's or a stage's, and, if
they are searched too, ``"epochs"``, ``"lr"``, ``"criterion"``, ``"kind"`` or ``"kind:<group>"``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from raytune_edge.errors import PlanError

if TYPE_CHECKING:
    from raytune_edge.config import Recipe
    from raytune_edge.pruning import Groups, Sensitivity

__all__ = [
    "RESNET56_SCHEDULE",
    "Moves",
    "is_ratio",
    "ratio_grid",
    "schedule_point",
    "search_space",
    "uniform_point",
    "unpack",
    "unpruned_point",
]

_RATIO, _KIND = "pruning_ratio:", "kind:"
_PLAIN_KEYS = ("epochs", "lr", "criterion", "kind")

RESNET56_SCHEDULE: dict[str, float] = {
    **{f"layer1.{block}.conv1": 0.7 for block in range(9)},
    **{f"layer2.{block}.conv1": 0.6 for block in (1, 2, 3, 4, 6, 7)},
    "layer3.1.conv1": 0.2,
    **{f"layer3.{block}.conv1": 0.4 for block in (2, 3, 5, 6, 7, 8)},
}
"""A published, hand-made schedule for ResNet-56 on CIFAR-10: only the first filters of a block go,
and the sensitive blocks at the stages' borders are spared. 92.85 % top-1 became 92.91 %, at 1.85
times fewer multiply-accumulates.

Source: Intel Distiller's ``resnet56_cifar_filter_rank_v2.yaml``, after Li et al., "Pruning Filters
for Efficient ConvNets", 2017.
"""


@dataclass(frozen=True, kw_only=True)
class Moves:
    """What a config asks for. What it doesn't say is None or empty: the recipe's holds.

    Attributes:
        ratios: Fraction of the channels to remove, by group.
        kinds: ``"filters"`` or ``"channels"``, by group.
        criterion: How channels are ranked.
        epochs: Epochs of retraining.
        lr: Peak learning rate of retraining.
    """

    ratios: Mapping[str, float] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)
    criterion: str | None = None
    epochs: int | None = None
    lr: float | None = None


def unpack(config: Mapping[str, Any], groups: Groups) -> Moves:
    """The moves that ``config``, a point of `search_space`, stands for.

    The name of a stage or a block stands for all its groups. Where names overlap, the one that
    stands for fewer groups holds.

    Raises:
        PlanError: For a key that means nothing here; it lists those that do.

    >>> from raytune_edge.pruning import Group, Groups
    >>> names = ("layer1.0.conv1", "layer1.0.conv2")
    >>> groups = Groups(Group(name=name, members=(name,), channels=16, multiple=1,
    ...                       residual=False, block="layer1.0") for name in names)
    >>> unpack({"pruning_ratio:layer1.0": 0.5, "epochs": 3}, groups).ratios
    {'layer1.0.conv1': 0.5, 'layer1.0.conv2': 0.5}
    """
    plain: dict[str, Any] = {}
    named: dict[str, dict[str, Any]] = {_RATIO: {}, _KIND: {}}
    for key, value in config.items():
        prefix = next((each for each in named if key.startswith(each)), None)
        if prefix:
            named[prefix][key.removeprefix(prefix)] = value
        elif key in _PLAIN_KEYS:
            plain[key] = value
        else:
            raise PlanError(
                f"config key {key!r} means nothing: expected 'pruning_ratio:<name>', "
                f"'kind:<name>' or one of {_PLAIN_KEYS}"
            )
    kinds = {group.name: plain["kind"] for group in groups} if "kind" in plain else {}
    return Moves(
        ratios={
            name: float(ratio) + 0.0 for name, ratio in _by_group(named[_RATIO], groups).items()
        },
        kinds=kinds | _by_group(named[_KIND], groups),
        criterion=plain.get("criterion"),
        epochs=None if plain.get("epochs") is None else int(plain["epochs"]),
        lr=None if plain.get("lr") is None else float(plain["lr"]),
    )


def is_ratio(key: str) -> bool:
    """Whether ``key`` of a config names a pruning ratio."""
    return key.startswith(_RATIO)


def _by_group(named: Mapping[str, Any], groups: Groups) -> dict[str, Any]:
    """Values by group from values by stage, block, group or member: the narrowest name holds."""
    inside = {name: groups.within(name) for name in named}
    widest_first = sorted(named, key=lambda name: -len(inside[name]))
    return {group.name: named[name] for name in widest_first for group in inside[name]}


def search_space(
    recipe: Recipe,
    *,
    by: Literal["group", "block", "stage"] = "group",
    sensitivity: Sensitivity | None = None,
    max_drop: float = 0.2,
    min_saving: float = 0.005,
    epochs: tuple[int, int] | None = None,
    lr: tuple[float, float] | None = None,
    criteria: Sequence[str] | None = None,
    kinds: Literal["one", "each"] | None = None,
    grid: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, Any]:
    """The space of pruned networks, as domains of `ray.tune`, for any searcher.

    Each pruning ratio lies on the grid that ``recipe.round_to`` makes: no two points mean the same
    network, and the order of the ratios is that of the widths. Groups that can't be pruned, being
    no wider than what must be kept, have no dimension.

    Args:
        recipe: The task to prune, and how kept channels are rounded.
        by: One ratio for each group, or one for all groups of a block or a stage.
        sensitivity: From `pruning.sensitivity`: ends each ratio where accuracy falls too far for
            one of its groups, and leaves out those whose groups don't pay.
        max_drop: With ``sensitivity``: the largest loss of top-1, a fraction, that a ratio may
            cost by itself before any retraining.
        min_saving: With ``sensitivity``: the least fraction of the multiply-accumulates that a
            group must be able to save.
        epochs: Least and most epochs of retraining; None leaves them to the recipe, as with all
            below.
        lr: Least and most peak learning rate, searched by its logarithm.
        criteria: Criteria to choose from.
        kinds: Choose between filters and channels: ``"one"`` choice for all groups, or one for
            ``"each"`` of what has a ratio.
        grid: Channel counts to offer, by group, such as `ncs2.channel_grid` finds; groups that it
            doesn't name are offered all. Several groups with one ratio are offered the ratios that
            all their grids share.

    Raises:
        ValueError: For an unknown ``by`` or ``kinds``.
        PlanError: If nothing is left to search, ``grid`` names a group that the task has not, or
            has a count that the recipe's rounding can't give.
    """
    from ray import tune

    from raytune_edge.pruning import counts_to_ratios, prunable_groups, ratio_steps

    for name, value, choices in (
        ("by", by, ("group", "block", "stage")),
        ("kinds", kinds, (None, "one", "each")),
    ):
        if value not in choices:
            raise ValueError(f"search_space({name}=...): expected one of {choices}, got {value!r}")
    groups = prunable_groups(recipe.task.baseline(), recipe.task.example())
    grid = grid or {}
    if unknown := set(grid) - {group.name for group in groups}:
        raise PlanError(
            f"search_space(grid=...): the task has no groups {sorted(unknown)}; it has "
            f"{[group.name for group in groups]}"
        )
    bounds = dict.fromkeys((group.name for group in groups), 1.0)
    paying = bounds.keys()
    if sensitivity is not None:
        bounds = sensitivity.bounds(max_drop=max_drop, min_saving=0.0)
        paying = sensitivity.bounds(max_drop=max_drop, min_saving=min_saving).keys()
    together: dict[str, list[tuple[str, float, int]]] = {}
    for group in groups:
        step, count = ratio_steps(group, recipe.round_to, recipe.min_keep)
        if count:
            name = group.name if by == "group" else getattr(group, by)
            together.setdefault(name, []).append((group.name, step, count))
    space: dict[str, Any] = {}
    for name, grids in together.items():
        # The finest grid of several groups: whatever the others do, each step narrows that one.
        _, step, count = min(grids, key=lambda grid: grid[1])
        bound = min(bounds.get(group, 0.0) for group, _, _ in grids)
        count = min(count, math.floor(bound / step + 1e-6))
        if count and any(group in paying for group, _, _ in grids):
            space[_RATIO + name] = ratio_grid(step, count)
            offered = [
                counts_to_ratios(groups.named(group), grid[group], recipe.round_to, recipe.min_keep)
                for group, _, _ in grids
                if group in grid
            ]
            if offered:
                shared = [each for each in set.intersection(*offered) if each <= bound + 1e-6]
                space[_RATIO + name] = tune.choice(sorted(shared))
                if len(shared) == 1:
                    del space[_RATIO + name]
    if not space:
        raise PlanError(
            f"nothing to search: no group keeps fewer channels than it has with "
            f"round_to={recipe.round_to}, min_keep={recipe.min_keep}"
            + (f" and a drop in top-1 of at most {max_drop}" if sensitivity else "")
        )
    names = [key.removeprefix(_RATIO) for key in space]
    if epochs is not None:
        space["epochs"] = tune.randint(epochs[0], epochs[1] + 1)
    if lr is not None:
        space["lr"] = tune.loguniform(*lr)
    if criteria is not None:
        space["criterion"] = tune.choice(list(criteria))
    for key in {"one": ["kind"], "each": [_KIND + name for name in names]}.get(kinds or "", []):
        space[key] = tune.choice(["filters", "channels"])
    return space


def ratio_grid(step: float, count: int) -> Any:
    """The ratios ``0, step, ..., count * step``, equally likely and in order.

    ``tune.quniform`` would make the first and the last half as likely as the rest, and can't reach
    half a step beyond them.
    """
    from ray import tune
    from ray.tune.search.sample import Quantized

    domain = tune.uniform(-step / 2, (count + 0.5) * step)
    domain.set_sampler(Quantized(domain.get_sampler(), step), allow_override=True)
    return domain


def unpruned_point(space: Mapping[str, Any]) -> dict[str, Any]:
    """The point of ``space`` that prunes nothing, for ``HyperOptSearch(points_to_evaluate=[...])``.

    What else is searched gets the most epochs, the middle learning rate and the first choices.
    """
    return uniform_point(space, 0.0)


def uniform_point(space: Mapping[str, Any], ratio: float) -> dict[str, Any]:
    """The point of ``space`` nearest to one ``ratio`` for all; the rest as in `unpruned_point`."""
    return {
        key: _nearest(domain, ratio) if is_ratio(key) else _default(key, domain)
        for key, domain in space.items()
    }


def schedule_point(
    space: Mapping[str, Any], groups: Groups, ratios: Mapping[str, float]
) -> dict[str, Any]:
    """The point of ``space`` nearest to a hand-made schedule, such as `RESNET56_SCHEDULE`.

    Args:
        space: From `search_space`.
        groups: The groups that it was made for.
        ratios: Ratios by stage, block, group or member; what is not named keeps all its channels.
            A dimension for several groups gets the mean of theirs.
    """
    wanted = _by_group(ratios, groups)
    point = unpruned_point(space)
    for key in filter(is_ratio, space):
        inside = groups.within(key.removeprefix(_RATIO))
        mean = sum(wanted.get(group.name, 0.0) for group in inside) / len(inside)
        point[key] = _nearest(space[key], mean)
    return point


def _nearest(domain: Any, ratio: float) -> float:
    """The ratio of a dimension that is nearest to ``ratio``."""
    if hasattr(domain, "categories"):
        return float(min(domain.categories, key=lambda each: abs(each - ratio)))
    step = domain.get_sampler().q
    return float(min(round(ratio / step), math.floor(domain.upper / step)) * step)


def _default(key: str, domain: Any) -> Any:
    if key == "epochs":
        return domain.upper - 1
    return math.sqrt(domain.lower * domain.upper) if key == "lr" else domain.categories[0]
