"""Tune a CNN's compression for the device it will run on.

Importing this package loads neither torch nor Ray: each name below is loaded when first used, so
that a device's host can use its part alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raytune_edge import ncs2, tasks, testing
    from raytune_edge.analysis import (
        best_under,
        export_bundle,
        front_table,
        hypervolume,
        knee_point,
        pareto_front,
        to_frame,
        verify_bundle,
        write_results,
    )
    from raytune_edge.analysis.replay import replay
    from raytune_edge.analysis.report import report
    from raytune_edge.callbacks import ProgressCallback, RunRecordCallback, WandbCallback
    from raytune_edge.config import Recipe, Retrain, Timing
    from raytune_edge.devices import DevicePool, connect_devices
    from raytune_edge.errors import RaytuneEdgeError
    from raytune_edge.objective import Objective
    from raytune_edge.records import Measurement
    from raytune_edge.search import FrontSearch, FrontStopper, StoredLatencies
    from raytune_edge.space import search_space, uniform_point, unpruned_point
    from raytune_edge.task import Loaders, Task
    from raytune_edge.trial import prune_and_retrain

__version__ = "0.1.0"

_MODULE_OF = {
    "DevicePool": "devices",
    "FrontSearch": "search",
    "FrontStopper": "search",
    "Loaders": "task",
    "Measurement": "records",
    "Objective": "objective",
    "ProgressCallback": "callbacks",
    "RaytuneEdgeError": "errors",
    "Recipe": "config",
    "Retrain": "config",
    "RunRecordCallback": "callbacks",
    "StoredLatencies": "search",
    "Task": "task",
    "Timing": "config",
    "WandbCallback": "callbacks",
    "best_under": "analysis",
    "connect_devices": "devices",
    "export_bundle": "analysis",
    "front_table": "analysis",
    "hypervolume": "analysis",
    "knee_point": "analysis",
    "pareto_front": "analysis",
    "prune_and_retrain": "trial",
    "replay": "analysis",
    "report": "analysis",
    "search_space": "space",
    "to_frame": "analysis",
    "uniform_point": "space",
    "unpruned_point": "space",
    "verify_bundle": "analysis",
    "write_results": "analysis",
}
_SUBMODULES = ("ncs2", "tasks", "testing")

__all__ = [
    "DevicePool",
    "FrontSearch",
    "FrontStopper",
    "Loaders",
    "Measurement",
    "Objective",
    "ProgressCallback",
    "RaytuneEdgeError",
    "Recipe",
    "Retrain",
    "RunRecordCallback",
    "StoredLatencies",
    "Task",
    "Timing",
    "WandbCallback",
    "best_under",
    "connect_devices",
    "export_bundle",
    "front_table",
    "hypervolume",
    "knee_point",
    "ncs2",
    "pareto_front",
    "prune_and_retrain",
    "replay",
    "report",
    "search_space",
    "tasks",
    "testing",
    "to_frame",
    "uniform_point",
    "unpruned_point",
    "verify_bundle",
    "write_results",
]


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return import_module(f"{__name__}.{name}")
    if name in _MODULE_OF:
        value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {__all__}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
