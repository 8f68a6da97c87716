"""Callbacks for ``tune.RunConfig(callbacks=[...])``. Each works beside Tune's own."""

from raytune_edge.callbacks.progress import ProgressCallback
from raytune_edge.callbacks.run_record import RunRecordCallback
from raytune_edge.callbacks.wandb import WandbCallback

__all__ = ["ProgressCallback", "RunRecordCallback", "WandbCallback"]
