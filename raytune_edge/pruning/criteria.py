"""How much each channel of a group matters.

A criterion is a function from a matrix with one row of weights for each channel to one score for
each channel. What the rows hold is the *kind*: the filters that make the channel (``"filters"``),
or the kernels of the next layers that read it (``"channels"``). Scores are summed over the layers
of a group, or those of its first layer, the leader, count for all.

Both backends remove the channels that are ranked lowest here, so that they give one network. The
L1, L2 and FPGM scores are those of NNI's own pruners (a test compares the masks), which can rank
neither by consumers nor by BatchNorm, and take their data through a training loop of NNI's.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import nn
from torch.nn import functional as F

from raytune_edge.config import Criterion, Kind
from raytune_edge.pruning.graph import Coupling, Site

if TYPE_CHECKING:
    from raytune_edge.task import Batches

__all__ = ["Criterion", "Kind", "Scored", "checked", "score_channels"]

Scored = Literal["sum", "leader"]

_TAYLOR_BATCHES = 8


def checked(what: str, value: str, choices: object) -> str:
    """``value`` if it is one of the ``choices``, a ``Literal``.

    Raises:
        ValueError: If not; it lists them.
    """
    if value not in get_args(choices):
        raise ValueError(f"{what}: expected one of {get_args(choices)}, got {value!r}")
    return value


def score_channels(
    model: nn.Module,
    couplings: Sequence[Coupling],
    *,
    criterion: str,
    kinds: Mapping[str, str],
    scored: str = "sum",
    seed: int = 0,
    data: Batches | None = None,
) -> dict[str, torch.Tensor]:
    """Scores (channels,) of each group's channels, float32: those that score lowest go first.

    Args:
        model: In the mode to be scored in; ``"taylor"`` changes its gradients.
        couplings: The groups to score.
        criterion: ``"l1"`` and ``"l2"``: the norm of a channel's weights. ``"fpgm"``: the sum of
            its distances to the others. ``"bn_scale"``: the size of its BatchNorm scales, whatever
            the kind. ``"taylor"``: how much the loss changes without it, to the first order.
            ``"random"``: drawn with ``seed``.
        kinds: ``"filters"`` or ``"channels"`` by group; ``"filters"`` where there is none.
        scored: ``"sum"`` over all layers, or only the ``"leader"``.
        seed: For ``"random"``.
        data: For ``"taylor"``; its first batches are used.

    Raises:
        ValueError: For an unknown choice, ``"taylor"`` without data, or ``"bn_scale"`` for a group
            without BatchNorm.

    Source: Li et al., "Pruning Filters for Efficient ConvNets", 2017 (L1); He et al., "Filter
    Pruning via Geometric Median", 2019 (FPGM, equation 6); Liu et al., "Network Slimming", 2017
    (BatchNorm scale); Molchanov et al., "Importance Estimation for Neural Network Pruning", 2019
    (Taylor, equation 8).
    """
    checked("criterion", criterion, Criterion)
    checked("scored", scored, Scored)
    if criterion == "random":
        generator = torch.Generator().manual_seed(seed)
        return {
            each.group.name: torch.rand(each.group.channels, generator=generator)
            for each in couplings
        }
    sites = {each.group.name: _sites(each, criterion, kinds, scored) for each in couplings}
    totals = {each.group.name: torch.zeros(each.group.channels) for each in couplings}
    for _ in _backward_passes(model, data) if criterion == "taylor" else (None,):
        for name, total in totals.items():
            for site in sites[name]:
                layer = model.get_submodule(site.layer)
                total += _CRITERIA[criterion](_rows(layer, site, criterion, len(total)))
    return totals


_CRITERIA: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "l1": lambda rows: rows.abs().sum(dim=1),
    "l2": lambda rows: rows.norm(dim=1),
    "fpgm": lambda rows: torch.cdist(rows, rows).sum(dim=1),
    "bn_scale": lambda rows: rows.abs().sum(dim=1),
    "taylor": lambda rows: rows.sum(dim=1).square(),
}


def _sites(
    coupling: Coupling, criterion: str, kinds: Mapping[str, str], scored: str
) -> tuple[Site, ...]:
    """Where the weights are that ``criterion`` ranks this group by."""
    name = coupling.group.name
    kind = checked(f"kind of {name}", kinds.get(name, "filters"), Kind)
    sites = coupling.outputs if kind == "filters" else coupling.inputs
    if criterion == "bn_scale":
        sites = coupling.norms
        if not sites:
            raise ValueError(
                f"criterion 'bn_scale': no BatchNorm with a scale follows {name}; use 'l1'"
            )
    return sites[:1] if scored == "leader" else sites


def _rows(layer: nn.Module, site: Site, criterion: str, channels: int) -> torch.Tensor:
    """The layer's weights as one row (channels, K) float32 for each channel of the group.

    Channels that don't reach the layer have rows of zeros.
    """
    weight = layer.get_parameter("weight")
    values = weight.detach().float().cpu()
    if criterion == "taylor" and weight.grad is not None:
        values = values * weight.grad.float().cpu()
    if site.is_input:
        outs, ins = values.shape[:2]
        groups = int(getattr(layer, "groups", 1))
        by_group = values.reshape(groups, outs // groups, ins, -1).transpose(1, 2)
        values = by_group.reshape(groups * ins, -1)
    order = site.channels.argsort(stable=True)
    reached = torch.tensor(sorted(set(site.channels.tolist())))
    values = values.flatten(1) if values.ndim > 1 else values[:, None]
    rows = values[site.positions[order]].reshape(len(reached), -1)
    padded = torch.zeros(channels, rows.shape[1])
    padded[reached] = rows
    return padded


def _backward_passes(model: nn.Module, data: Batches | None) -> Iterator[None]:
    """Yields after each batch's backward pass, with that batch's gradients in ``model``."""
    if data is None:
        raise ValueError("criterion 'taylor' needs data=: batches of images and labels")
    parameter = next(model.parameters())
    for images, labels in itertools.islice(data, _TAYLOR_BATCHES):
        with torch.enable_grad():
            model.zero_grad()
            logits = model(images.to(parameter.device))
            loss = F.cross_entropy(logits, labels.to(parameter.device))
            loss.backward()  # type: ignore[no-untyped-call]
        yield
