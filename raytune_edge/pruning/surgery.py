"""From a plan to a smaller network: choose the channels and cut them out, at once or in steps."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from raytune_edge.errors import PlanError
from raytune_edge.pruning.checks import check_output, check_widths
from raytune_edge.pruning.criteria import score_channels
from raytune_edge.pruning.graph import couplings, prunable_groups
from raytune_edge.pruning.groups import Group, Groups
from raytune_edge.pruning.plan import Plan
from raytune_edge.pruning.plan import plan as make_plan

if TYPE_CHECKING:
    from raytune_edge.task import Batches

__all__ = ["Pruner", "Surgeon", "prune", "prune_iteratively"]

_BACKENDS = {"nni": "nni", "torch-pruning": "torch_pruning"}


class Surgeon(Protocol):
    """What a backend is: the function ``remove_channels`` of its module."""

    def __call__(
        self, model: nn.Module, example: torch.Tensor, removed: Mapping[Group, Sequence[int]]
    ) -> nn.Module:
        """``model`` without the output channels ``removed`` of each group's members.

        ``model`` may be changed. Training mode and ``requires_grad`` need not be kept.
        """


class Pruner:
    """One network, traced once: its groups, the channels that a plan removes, what is left then.

    `prune` does it all in one call; this serves whoever prunes a network in several ways, or wants
    to know which channels went. Neither changes the network.

    Args:
        model: Any network of two-dimensional convolutions.
        example: One input (1, C, H, W), float32, on the model's device.

    Attributes:
        groups: What `prunable_groups` returns.

    Raises:
        PruningError: If the channels can't be followed.
    """

    def __init__(self, model: nn.Module, example: torch.Tensor) -> None:
        self._model = model
        self._example = example
        self._couplings = couplings(model, example)
        self.groups = Groups(coupling.group for coupling in self._couplings)

    @torch.inference_mode(False)
    def choose(
        self,
        plan: Plan,
        *,
        criterion: str = "l1",
        kind: str | Mapping[str, str] = "filters",
        scored: str = "sum",
        seed: int = 0,
        data: Batches | None = None,
    ) -> dict[Group, tuple[int, ...]]:
        """The channels that ``plan`` removes from each group that loses any.

        Args:
            plan: From `plan`, made for these groups.
            criterion: How channels are ranked: see `criteria.score_channels`.
            kind: ``"filters"`` or ``"channels"``, for all groups or by group.
            scored: ``"sum"`` over a group's layers, or its ``"leader"``.
            seed: For ``criterion="random"``; the rest is not random.
            data: Batches of images and labels, for ``criterion="taylor"``.

        Raises:
            PlanError: If the plan doesn't fit the model.
            ValueError: For an unknown criterion or kind.
        """
        kept = self._kept(plan)
        if isinstance(kind, str):
            kinds = dict.fromkeys(kept, kind)
        else:
            kinds = {self.groups.named(layer).name: each for layer, each in kind.items()}
        narrowed = [each for each in self._couplings if kept[each.group.name] < each.group.channels]
        scores = score_channels(
            copy.deepcopy(self._model).eval().requires_grad_(True),
            narrowed,
            criterion=criterion,
            kinds=kinds,
            scored=scored,
            seed=seed,
            data=data,
        )
        return {
            each.group: _lowest(scores[each.group.name], kept[each.group.name], each.group.multiple)
            for each in narrowed
        }

    @torch.inference_mode(False)
    def without(self, removed: Mapping[Group, Sequence[int]], *, backend: str = "nni") -> nn.Module:
        """A smaller network without the channels ``removed``, as `choose` returns them.

        The result is checked: every layer is as wide as planned, and the output on the example is
        that of the network with the removed channels cut off from all layers that read them.
        Training mode and ``requires_grad`` are those of the network; with none removed it is a
        plain copy.

        Raises:
            UntraceableModelError: If ``torch.fx`` can't trace it and the backend needs it to.
            PruningError: If the backend fails, or its result isn't what was planned.
            ValueError: For an unknown backend.
        """
        _check_backend(backend)
        if not removed:
            return copy.deepcopy(self._model)
        surgeon: Surgeon = import_module(f"{__package__}.{_BACKENDS[backend]}").remove_channels
        pruned = surgeon(copy.deepcopy(self._model), self._example, removed)
        _restore_modes(pruned, self._model)
        check_widths(pruned, removed)
        check_output(pruned, self._model, self._example, self._couplings, removed)
        return pruned

    def _kept(self, plan: Plan) -> dict[str, int]:
        kept = {self.groups.named(name).name: count for name, count in plan.kept.items()}
        for group in self.groups:
            count = kept.setdefault(group.name, group.channels)
            if not 1 <= count <= group.channels or count % group.multiple:
                raise PlanError(
                    f"the plan keeps {count} channels of {group.name}: expected a multiple of "
                    f"{group.multiple} from {group.multiple} to {group.channels}"
                )
        return kept


def prune(
    model: nn.Module, example: torch.Tensor, plan: Plan, *, backend: str = "nni", **ranking: Any
) -> nn.Module:
    """A smaller network with the channels that ``plan`` keeps; ``model`` is left untouched.

    The result is checked: see `Pruner.without`. A plan that keeps all gives a plain copy.

    Args:
        model: Any network of two-dimensional convolutions.
        example: One input (1, C, H, W), float32, on the model's device.
        plan: From `plan`, made for the groups of this model.
        backend: ``"nni"`` or ``"torch-pruning"``.
        ranking: How channels are ranked: keyword arguments of `Pruner.choose`.

    Raises:
        PlanError: If the plan doesn't fit the model.
        UntraceableModelError: If ``torch.fx`` can't trace the model and the backend needs it to.
        PruningError: If the backend fails, or its result isn't what was planned.
        ValueError: For an unknown criterion, kind or backend.
    """
    _check_backend(backend)
    if plan.keeps_all:
        return copy.deepcopy(model)
    pruner = Pruner(model, example)
    return pruner.without(pruner.choose(plan, **ranking), backend=backend)


def prune_iteratively(
    model: nn.Module,
    example: torch.Tensor,
    plan: Plan,
    fine_tune: Callable[[nn.Module], object],
    *,
    steps: int,
    **options: Any,
) -> nn.Module:
    """Prune in equal ``steps`` with ``fine_tune`` between them; ``model`` is left untouched.

    Each step ranks the channels that are left by the weights as they have become. The result has
    just been pruned, for the caller to retrain.

    Args:
        model: As for `prune`, as are ``example``, ``plan`` and ``options``.
        example: One input.
        plan: Where the last step arrives.
        fine_tune: Trains the network that it is given in place; called ``steps - 1`` times.
        steps: 1 is `prune` itself.
        options: Keyword arguments of `prune`.

    Raises:
        ValueError: If ``steps`` is below 1; the rest as `prune`.
    """
    if steps < 1:
        raise ValueError(f"prune_iteratively(steps=...): expected at least 1, got {steps}")
    groups = prunable_groups(model, example)
    for step in range(1, steps):
        ratios = {name: ratio * step / steps for name, ratio in plan.reached.items()}
        partway = make_plan(groups, ratios, round_to=1, min_keep=1)
        model = prune(model, example, partway, **options)
        fine_tune(model)
    return prune(model, example, plan, **options)


def _check_backend(backend: str) -> None:
    if backend not in _BACKENDS:
        raise ValueError(f"backend: expected one of {tuple(_BACKENDS)}, got {backend!r}")


def _lowest(scores: torch.Tensor, keep: int, multiple: int) -> tuple[int, ...]:
    """The channels that score lowest, ``keep`` of them left, in ascending order.

    The channels fall into ``multiple`` equal parts, as grouped convolutions read them, and the
    same ones go from each part.
    """
    parts = scores.reshape(multiple, -1)
    by_rank = parts.sum(dim=0).argsort(descending=True, stable=True)
    gone = by_rank[keep // multiple :]
    everywhere = gone[None, :] + torch.arange(multiple)[:, None] * parts.shape[1]
    return tuple(everywhere.flatten().sort().values.tolist())


def _restore_modes(pruned: nn.Module, model: nn.Module) -> None:
    modules, parameters = dict(pruned.named_modules()), dict(pruned.named_parameters())
    for name, module in model.named_modules():
        modules[name].training = module.training
    for name, parameter in model.named_parameters():
        parameters[name].requires_grad_(parameter.requires_grad).grad = None
