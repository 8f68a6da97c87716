"""Surgery by NNI's ``ModelSpeedup``. Hides its tracing, its masks, its noise and its guesses.

``ModelSpeedup`` 3.0 has a tracer of its own that fails on today's torch, so it gets a graph from
``torch.fx.symbolic_trace``. It takes for prunable whatever is constant when it runs the model on
random values within the range of the real ones, so a layer whose weights have decayed to nothing
would go as well: it gets to see other weights, and what it removes depends on the masks alone.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import io
import logging
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import fx, nn

from raytune_edge.errors import PruningError, UntraceableModelError
from raytune_edge.pruning.groups import Group
from raytune_edge.pruning.source import user_line

__all__ = ["remove_channels"]

_BATCH = 2
"""Random inputs that NNI infers its masks from; it takes 8 unless told, and four times as long."""


def remove_channels(
    model: nn.Module, example: torch.Tensor, removed: Mapping[Group, Sequence[int]]
) -> nn.Module:
    """See `surgery.Surgeon`.

    Raises:
        UntraceableModelError: If ``torch.fx`` can't trace the model; it names the line.
        PruningError: If NNI fails.
    """
    model.eval()
    graph = _traced(model)
    weights = copy.deepcopy(model.state_dict())
    masks = {
        layer: _mask(model.get_submodule(layer), channels)
        for group, channels in removed.items()
        for layer in group.members
    }
    with _quiet(), torch.enable_grad():
        from nni.compression.speedup import ModelSpeedup

        class Speedup(ModelSpeedup):  # type: ignore[misc]
            def replace_compressed_modules(self) -> None:
                model.load_state_dict(weights)
                super().replace_compressed_modules()

        with torch.no_grad():
            for parameter in model.parameters():
                parameter.uniform_(0.5, 1)
        speedup = Speedup(
            model,
            example.clone(),
            masks,
            batch_size=_BATCH,
            graph_module=graph,
            logger=logging.getLogger("nni"),
        )
        try:
            speedup.speedup_model()
        except Exception as error:
            raise PruningError(
                f"NNI can't prune {type(model).__name__}: {type(error).__name__}: {error}. "
                "Try backend='torch-pruning'."
            ) from error
    return model


def _traced(model: nn.Module) -> fx.GraphModule:
    try:
        return fx.symbolic_trace(model)
    except Exception as error:
        line = user_line(traceback.extract_tb(error.__traceback__))
        raise UntraceableModelError(
            f"torch.fx can't trace {type(model).__name__}, which the backend 'nni' needs: {line}: "
            f"{error}. Use backend='torch-pruning', which doesn't trace, or write that line "
            "without control flow on values or shapes."
        ) from error


def _mask(layer: nn.Module, removed: Sequence[int]) -> dict[str, torch.Tensor]:
    """Ones in the shape of the layer's parameters, zeros in those of the removed channels."""
    masks = {name: torch.ones_like(tensor) for name, tensor in layer.named_parameters()}
    for mask in masks.values():
        mask.requires_grad_(False)[list(removed)] = 0
    return masks


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No logs, prints and warnings of NNI's, and no change to the caller's random numbers."""
    log = logging.getLogger("nni")
    level = log.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("nni.compression.speedup")  # before stdout is swapped: it keeps it
        log.setLevel(logging.CRITICAL)
        try:
            with torch.random.fork_rng(), contextlib.redirect_stdout(io.StringIO()):
                yield
        finally:
            log.setLevel(level)
