"""What a finished search says: frames, fronts, tables, pictures, a report, a bundle to deploy."""

from raytune_edge.analysis.bundle import export_bundle
from raytune_edge.analysis.frame import baseline, feasible, to_frame, to_history, to_spans
from raytune_edge.analysis.front import (
    best_under,
    hypervolume,
    hypervolume_by,
    knee_point,
    pareto_front,
)
from raytune_edge.analysis.relations import correlations, importance
from raytune_edge.analysis.replay import replay
from raytune_edge.analysis.report import report
from raytune_edge.analysis.spent import Spent, spent
from raytune_edge.analysis.table import front_table
from raytune_edge.analysis.verify import Verified, verify_bundle
from raytune_edge.analysis.write import best_trial, prepare_folder, write_results

__all__ = [
    "Spent",
    "Verified",
    "baseline",
    "best_trial",
    "best_under",
    "correlations",
    "export_bundle",
    "feasible",
    "front_table",
    "hypervolume",
    "hypervolume_by",
    "importance",
    "knee_point",
    "pareto_front",
    "prepare_folder",
    "replay",
    "report",
    "spent",
    "to_frame",
    "to_history",
    "to_spans",
    "verify_bundle",
    "write_results",
]
