"""What is known about one trial, told to Tune whole each time."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import logging
import math
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ray import tune

from raytune_edge.config import Recipe
from raytune_edge.objective import ENDS, WORST_SCORE
from raytune_edge.records import METRIC_UNITS, SHAPE_METRICS, Measurement

__all__ = ["MANIFEST", "Report"]

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
"""The file of a checkpoint that lists its other files with their SHA-256 sums."""

_LAST_REPORT = "report.json"
_PACKAGES = ("raytune-edge", "ray", "torch", "nni", "onnx")


class Report:
    """The metrics and facts of one trial so far.

    Tune wants every key in every report, so `tell` always reports all: NaN where a number is not
    known yet, and a finite score in any case.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._objective = recipe.objective
        self._metrics = dict.fromkeys(METRIC_UNITS, math.nan)
        self._metrics |= {"queue_wait_s": 0.0, "measure_s": 0.0, "retrain_s": 0.0}
        self._facts: dict[str, Any] = {"epoch": 0, "signature": "", "device_id": "", "flags": ""}
        self._spans: list[dict[str, Any]] = []

    def add(self, **values: Any) -> None:
        """Learn metrics of `METRIC_UNITS` or facts (``epoch``, ``signature``, ...)."""
        for name, value in values.items():
            if name in self._metrics:
                self._metrics[name] = float(value)
            elif name in self._facts:
                self._facts[name] = value
            else:
                raise ValueError(f"{name!r} is no metric and no fact of a report")

    def add_measurement(self, measurement: Measurement) -> None:
        """Learn the figures of ``measurement``; the time it took is added to the trial's."""
        metrics = self._metrics
        self.add(**measurement.metrics(), device_id=measurement.device_id)
        if measurement.top1 is not None and measurement.top5 is not None:
            self.add(device_top1=measurement.top1, device_top5=measurement.top5)
        self.flag(*measurement.flags)
        if not measurement.cached:
            self.add(
                queue_wait_s=metrics["queue_wait_s"] + measurement.queue_wait_s,
                measure_s=metrics["measure_s"] + measurement.measure_s,
            )
            start = measurement.taken_at - measurement.measure_s
            self._add_span("queue", start - measurement.queue_wait_s, start)
            self._add_span("measure", start, measurement.taken_at, measurement.device_id)

    def flag(self, *doubts: str) -> None:
        """Note, once each, what casts doubt on the figures."""
        known = [flag for flag in self._facts["flags"].split("; ") if flag]
        self._facts["flags"] = "; ".join(dict.fromkeys([*known, *doubts]))

    @contextlib.contextmanager
    def span(self, what: str) -> Iterator[None]:
        """Time what happens inside, for the timeline; retraining also counts as ``retrain_s``."""
        start = time.time()
        try:
            yield
        finally:
            self._add_span(what, start, time.time())
            if what == "retrain":
                self._metrics["retrain_s"] += time.time() - start

    def _add_span(self, what: str, start: float, end: float, where: str = "trainer") -> None:
        self._spans.append({"what": what, "start": start, "end": end, "where": where})

    def limit_missed(self) -> str:
        """The limits that the network's shape misses, in words; "" if none or not known yet."""
        shape = {name: self._metrics[name] for name in SHAPE_METRICS}
        return self._objective.verdict(shape).reason

    def tell(
        self, stage: str, *, reason: str = "", files: Mapping[str, bytes] | None = None
    ) -> None:
        """Report everything to Tune, with ``files`` and a manifest of them as checkpoint.

        Every end leaves one, if only with the report itself: see `told_to_its_end`.
        """
        verdict = self._objective.judge({**self._metrics, "stage": stage})
        unsupported = stage == "unsupported"
        result = {
            **self._metrics,
            **self._facts,
            "stage": stage,
            "score": WORST_SCORE if unsupported else verdict.score,
            "feasible": verdict.feasible and not unsupported,
            "reason": reason or verdict.reason,
            "spans": json.dumps(self._spans),
        }
        logger.info("%s: epoch %d, %s", stage, result["epoch"], result["reason"] or "well")
        if stage in ENDS:
            files = {**(files or {}), _LAST_REPORT: json.dumps(result).encode()}
        if files is None:
            tune.report(result)
            return
        with tempfile.TemporaryDirectory() as folder:
            _write_checkpoint(Path(folder), files)
            tune.report(result, checkpoint=tune.Checkpoint.from_directory(folder))

    def told_to_its_end(self) -> bool:
        """Whether this trial had ended, and was begun again; its last report is then repeated.

        A driver that is killed may not have noted the end of a trial whose checkpoint is there.
        """
        checkpoint = tune.get_checkpoint()
        if checkpoint is None:
            return False
        with checkpoint.as_directory() as folder:
            last = Path(folder) / _LAST_REPORT
            if not last.exists():
                return False
            result = json.loads(last.read_text())
        logger.info("had ended already: %s", result["stage"])
        tune.report(result)
        return True

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on in another process."""
        return {"metrics": self._metrics, "facts": self._facts, "spans": self._spans}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up where the report that `state` came from stood."""
        self._metrics = dict(state["metrics"])
        self._facts = dict(state["facts"])
        self._spans = list(state["spans"])


def _write_checkpoint(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    manifest = {"sha256": sums, "versions": _versions(), "made_at": time.time()}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")


@functools.cache
def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in _PACKAGES}
