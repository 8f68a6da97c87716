"""What HyperOpt lacks: constraints and several goals, no network twice, warm start, screening."""

from raytune_edge.search.foreknown import StoredLatencies
from raytune_edge.search.optuna_space import optuna_space
from raytune_edge.search.screening import ScreeningRecord
from raytune_edge.search.searcher import FrontSearch
from raytune_edge.search.stopper import FrontStopper

__all__ = ["FrontSearch", "FrontStopper", "ScreeningRecord", "StoredLatencies", "optuna_space"]
