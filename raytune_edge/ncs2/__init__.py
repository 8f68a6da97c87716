"""The Neural Compute Stick 2, with and without a stick; each name is loaded when first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raytune_edge.ncs2.calibration import calibrate
    from raytune_edge.ncs2.checking import check
    from raytune_edge.ncs2.grid import channel_grid
    from raytune_edge.runtimes.ncs2.compiler import CompileReport
    from raytune_edge.runtimes.ncs2.environment import install

_MODULE_OF = {
    "CompileReport": "raytune_edge.runtimes.ncs2.compiler",
    "calibrate": "raytune_edge.ncs2.calibration",
    "channel_grid": "raytune_edge.ncs2.grid",
    "check": "raytune_edge.ncs2.checking",
    "install": "raytune_edge.runtimes.ncs2.environment",
}

__all__ = ["CompileReport", "calibrate", "channel_grid", "check", "install"]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        value = getattr(import_module(_MODULE_OF[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {__all__}")
