"""The front as a W&B run: table, pictures, and its networks as artifacts."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd

from raytune_edge.analysis.files import checkpoint_folder, read_json
from raytune_edge.analysis.frame import to_frame
from raytune_edge.analysis.front import pareto_front

__all__ = ["log_front"]


def log_front(
    run: Any, trials: list[Any], *, budget_ms: float | None, images: Mapping[str, str]
) -> None:
    """Log to the open W&B ``run`` what the ``trials`` of Tune came to."""
    import wandb

    frame = to_frame(SimpleNamespace(trials=trials))
    front = pareto_front(frame)
    run.log({"front": wandb.Table(dataframe=_plain(front.drop(columns="spans")))})
    with tempfile.TemporaryDirectory() as folder:
        pictures = {**_pictures(frame, front, Path(folder), budget_ms), **images}
        run.log({title: wandb.Image(path) for title, path in pictures.items()})
    for _, row in front.iterrows():
        _log_network(run, row)


def _log_network(run: Any, row: pd.Series) -> None:
    import wandb

    with checkpoint_folder(row) as folder:
        if folder is None:
            return
        artifact = wandb.Artifact(
            f"network-{row['trial_id']}",
            type="model",
            metadata={"top1": row["top1"], "latency_p50_ms": row["latency_p50_ms"]},
        )
        for name in ("model.onnx", "manifest.json", "plan.json", "measurement.json"):
            if (folder / name).is_file():
                artifact.add_file(str(folder / name))
        run.log_artifact(artifact)


def _pictures(
    frame: pd.DataFrame, front: pd.DataFrame, folder: Path, budget_ms: float | None
) -> dict[str, str]:
    from raytune_edge.analysis import plots

    drawn = {"latency and accuracy": plots.plot_front(frame, budget_ms=budget_ms)}
    plan = read_json(front.iloc[-1], "plan.json") if len(front) else {}
    if plan:
        drawn["kept channels of the most accurate"] = plots.plot_kept_channels(plan)
    if plan.get("removed"):
        drawn["filters removed from the most accurate"] = plots.plot_filters_removed(plan)
    paths = {}
    for title, ax in drawn.items():
        paths[title] = str(folder / f"{title}.png")
        plots.style.save(ax, Path(paths[title]))
    return paths


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Missing values as None: W&B's tables know no other."""
    values = frame.astype("object")
    return values.where(values.notna(), None)
