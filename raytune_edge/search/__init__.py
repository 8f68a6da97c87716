"""What HyperOpt lacks: constraints and several goals, no network twice, warm start, screening."""

from typing import TYPE_CHECKING, Any

from raytune_edge.search.foreknown import StoredLatencies
from raytune_edge.search.optuna_space import optuna_space
from raytune_edge.search.screening import ScreeningRecord
from raytune_edge.search.searcher import FrontSearch
from raytune_edge.search.stopper import FrontStopper

if TYPE_CHECKING:
    from raytune_edge.search.optuna_search import OptunaFrontSearch

__all__ = ["FrontSearch", "FrontStopper", "OptunaFrontSearch", "ScreeningRecord"]
__all__ += ["StoredLatencies", "optuna_space"]


def __getattr__(name: str) -> Any:
    if name == "OptunaFrontSearch":  # Optuna is not always installed
        from raytune_edge.search.optuna_search import OptunaFrontSearch

        return OptunaFrontSearch
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {__all__}")
