"""Networks that might be tried: what the points of a space mean."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import hyperopt

from raytune_edge.search.documents import levels, limits
from raytune_edge.search.shapes import Shapes, Size
from raytune_edge.space import is_ratio

__all__ = ["Candidate", "Key", "Networks"]

Key = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A network that might be tried: its values as HyperOpt's, and what they mean.

    Attributes:
        values: By label, as HyperOpt draws them.
        key: Equal for values that mean the same trial.
        point: Coordinates in the space, and sizes where they are known.
        size: None where sizes are not known.
        known: Metrics that are certain before a trial.
    """

    values: dict[str, Any]
    key: Key
    point: tuple[float, ...]
    size: Size | None
    known: dict[str, float]


class Networks:
    """The networks of a space.

    Args:
        space: As HyperOpt understands it.
        domain: HyperOpt's, of this space.
        shapes: Tells sizes; None where they are not known.
    """

    def __init__(
        self, space: Mapping[str, Any], domain: hyperopt.Domain, shapes: Shapes | None
    ) -> None:
        self._space = space
        self._nodes: dict[str, Any] = dict(domain.params)
        self._shapes = shapes

    @property
    def names(self) -> list[str]:
        """What a config says of a network."""
        return sorted(self._nodes)

    def config(self, values: Mapping[str, Any]) -> Any:
        """What a trial is given."""
        return hyperopt.space_eval(self._space, values)

    def values(self, config: Mapping[str, Any]) -> dict[str, Any] | None:
        """HyperOpt's values of a config, constants left out; None if it is of another space.

        A choice that isn't offered becomes -1.
        """
        constants = self._space.keys() - self._nodes.keys()
        values = {name: value for name, value in config.items() if name not in constants}
        if values.keys() != self._nodes.keys():
            return None
        for name, value in values.items():
            if self._nodes[name].name == "randint":
                choices = self._choices(name)
                values[name] = choices.index(value) if value in choices else -1
        return values

    def starting_point(self, config: Mapping[str, Any]) -> Candidate:
        """The network of a config that is to be tried first; its ratios may lie off the grid.

        Raises:
            ValueError: If it is of another space or a choice isn't offered.
        """
        values = self.values(config)
        if values is None:
            raise ValueError(
                f"points_to_evaluate: expected a value for each of {self.names}, got them for "
                f"{sorted(config)}"
            )
        for name, value in values.items():
            if self._nodes[name].name == "randint" and value < 0:
                raise ValueError(
                    f"points_to_evaluate: expected {name} to be one of {self._choices(name)}, got "
                    f"{config[name]!r}"
                )
        return self.candidate(values)

    def candidate(self, values: dict[str, Any]) -> Candidate:
        """What ``values`` mean."""
        ratios = {name: value for name, value in values.items() if is_ratio(name)}
        if any(self._nodes[name].name == "randint" for name in ratios):  # of choices
            config = self.config(values)
            ratios = {name: config[name] for name in ratios}
        rest = {name: value for name, value in values.items() if not is_ratio(name)}
        size = self._shapes.size(ratios) if self._shapes else None
        named = sorted((rest if size else values).items())
        point = [float(values.get(name, 0.0)) for name in self.names]
        return Candidate(
            values=values,
            key=(
                *(size.kept.values() if size else ()),
                *((name, round(float(value), 9) + 0.0) for name, value in named),
            ),
            point=(*point, *(size.work if size else ())),
            size=size,
            known=dict(size.metrics) if size else {},
        )

    def ends(self, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """``values`` with all ratios the largest, and the smallest, that there are."""

        def extreme(name: str, pick: Callable[..., Any]) -> Any:
            node = self._nodes[name]
            if node.name == "randint":
                choices = self._choices(name)
                return pick(range(len(choices)), key=lambda place: choices[place])
            return pick(levels(node) or limits(node))

        ratios = [name for name in values if is_ratio(name) and name in self._space]
        return [{**values, **{name: extreme(name, pick) for name in ratios}} for pick in (max, min)]

    def everything(self, most: int) -> list[dict[str, Any]] | None:
        """The values of every network; None if there are more than ``most`` or no end of them."""
        grids = [grid for name in self.names if (grid := levels(self._nodes[name])) is not None]
        flat = self._nodes.keys() <= self._space.keys()  # no choice leads to other dimensions
        if not flat or len(grids) < len(self.names) or math.prod(map(len, grids)) > most:
            return None
        return [dict(zip(self.names, point, strict=True)) for point in itertools.product(*grids)]

    def _choices(self, name: str) -> list[Any]:
        """What a choice offers, by its index."""
        return [each.obj for each in self._space[name].pos_args[1:]]
