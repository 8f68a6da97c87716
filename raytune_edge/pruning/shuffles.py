"""What reorders channels, which no dependency graph can follow."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from raytune_edge.errors import PruningError
from raytune_edge.pruning.source import user_line

__all__ = ["NoShuffles"]

_SHUFFLES = (F.pixel_shuffle, F.pixel_unshuffle, F.channel_shuffle)


class NoShuffles(TorchFunctionMode):
    """While active, an operation that splits or reorders channels is an error that names its line.

    Raises:
        PruningError: From within the operation.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        image, *_ = (*args, None)
        split = (
            isinstance(image, torch.Tensor)
            and isinstance(result, torch.Tensor)
            and image.ndim == 4 < result.ndim
        )
        if split or func in _SHUFFLES:
            raise PruningError(
                "shuffling channels (splitting their dimension, as ShuffleNet does) isn't "
                f"supported by any backend: {user_line(traceback.extract_stack())}"
            )
        return result
