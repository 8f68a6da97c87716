"""A trainable that reports and leaves what the real trial does, in milliseconds."""

from __future__ import annotations

import hashlib
import io
import json
import math
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from ray import cloudpickle, tune
from ray.tune.search.basic_variant import BasicVariantGenerator

from raytune_edge.records import METRIC_UNITS, Measurement

GROUPS = ("stem", "layer1")


class TinyNet(torch.nn.Module):
    """Two convolutions of ``width`` channels: (1, 1, 8, 8) to 10 logits."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(1, width, 3, padding=1)
        self.layer1 = torch.nn.Conv2d(width, width, 3)
        self.head = torch.nn.Linear(width, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = torch.relu(self.layer1(torch.relu(self.stem(images))))
        return self.head(features.mean((2, 3)))


def onnx_bytes(model: torch.nn.Module) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model.eval(), (torch.zeros(1, 1, 8, 8),), file, dynamo=False, opset_version=13,
            input_names=["images"], output_names=["logits"],
        )  # fmt: skip
    return file.getvalue()


def measurement(latency_ms: float, onnx: bytes) -> dict[str, Any]:
    """A `Measurement` with figures that fit ``latency_ms``, as its dict."""
    layers = [
        {"name": name, "kind": "Convolution", "ms": latency_ms / 3} for name in (*GROUPS, "head")
    ]
    fields = {
        "latency_p50_ms": latency_ms, "latency_p50_low_ms": latency_ms - 0.01,
        "latency_p50_high_ms": latency_ms + 0.01, "latency_p90_ms": latency_ms * 1.1,
        "latency_p99_ms": latency_ms * 1.3, "latency_min_ms": latency_ms * 0.9,
        "latency_mean_ms": latency_ms, "block_medians_ms": [latency_ms] * 5, "samples": 500,
        "stopped_by": "tolerance", "throughput_fps": 900 / latency_ms, "requests_in_flight": 2,
        "first_inference_ms": latency_ms * 2, "read_s": 0.01, "compile_s": 0.1,
        "cpu_s_per_inference": latency_ms / 1e3, "cpu_pressure": 0.0,
        "cpu_wait": 0.0, "precision": "f32",
        "threads": 1, "streams": 1, "runtime": "openvino 0.0", "device": "CPU",
        "device_name": "Made-up CPU", "device_id": "host/ncs:0", "queue_wait_s": 0.01,
        "measure_s": 0.02, "taken_at": time.time(), "layers": layers,
        "model_sha256": hashlib.sha256(onnx).hexdigest(),
    }  # fmt: skip
    return Measurement.from_dict(fields).to_dict()


@pytest.fixture(scope="session")
def stub_trial() -> Callable[[Mapping[str, Any]], None]:
    """A Tune trainable. Its config has ``pruning_ratio:<group>`` and ``end``: how it is to end.

    ``"done"``, ``"infeasible"``, ``"failed"`` before its first report, ``"late"`` after it, or
    ``"slow"``: done, after as many seconds as it has epochs (4).
    """
    widths = {width: TinyNet(width) for width in (16, 8, 4)}
    networks = {width: (onnx_bytes(net), _state(net)) for width, net in widths.items()}
    # Trials run in processes that cannot import this module.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    names = list(METRIC_UNITS)

    def trial(config: Mapping[str, Any]) -> None:
        import random

        def spans(*whats: str) -> str:
            where = {"measure": "host/ncs:0"}
            return json.dumps(
                [
                    {"what": w, "start": start + i, "end": start + i + 1,
                     "where": where.get(w, "trainer")}
                    for i, w in enumerate(whats)
                ]
            )  # fmt: skip

        end = config.get("end", "done")
        if end == "failed":
            raise RuntimeError("the device died <b>for good</b>")
        start = time.time()
        ratio = (config["pruning_ratio:stem"] + config["pruning_ratio:layer1"]) / 2
        width = 16 if ratio == 0 else 8 if ratio < 0.5 else 4
        onnx, state = networks[width]
        noise = random.Random(str(config)).uniform(0, 0.002)
        top1 = 0.98 - 0.2 * ratio**2 + noise
        report = {
            **dict.fromkeys(names, math.nan),
            "stage": "pruned", "reason": "", "epoch": 0, "feasible": True, "score": 0.0,
            "signature": f"width{width}", "flags": "", "device_id": "", "spans": "[]",
            "top1_pruned": top1 - ratio * 0.5, "top5_pruned": 0.9,
            "macs_ratio": (width / 16) ** 2, "params_ratio": (width / 16) ** 2,
            "macs": 4e5 * (width / 16) ** 2, "params": 3e3 * (width / 16) ** 2,
            "size_bytes": len(onnx),
        }  # fmt: skip
        kept = tune.get_checkpoint()
        first_epoch = 1
        if kept:
            with kept.as_directory() as folder:
                first_epoch = int((Path(folder) / "epoch").read_text()) + 1
        else:
            tune.report(report)
        figures = measurement(0.2 + 0.8 * (1 - ratio), onnx)
        report |= {name: figures[name] for name in names if name in figures}
        report["device_id"] = figures["device_id"]
        if end == "late":
            raise RuntimeError("the device died late")
        if end == "infeasible":
            reason = "latency_p50_ms 1.00 ms is over the limit of 0.80 ms"
            changes = {"stage": "infeasible", "feasible": False, "score": -0.2, "reason": reason}
            tune.report({**report, **changes, "spans": spans("prune", "measure")})
            return
        for epoch in range(first_epoch, 5):
            if end == "slow":
                time.sleep(1)
            report |= {"stage": "retrain", "epoch": epoch, "top1": top1 - 0.1 / epoch**2}
            report |= {"retrain_s": epoch * 1.0, "score": report["top1"]}
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / "epoch").write_text(str(epoch))
                tune.report(report, checkpoint=tune.Checkpoint.from_directory(folder))
        report |= {"stage": "done", "top1": top1, "top5": 1.0, "test_top1": top1, "score": top1}
        report |= {"test_top5": 1.0, "val_loss": 0.1, "epoch": 4}
        report["spans"] = spans("prune", "measure", "retrain", "evaluate")
        plan = {
            "kept": dict.fromkeys(GROUPS, width),
            "channels": dict.fromkeys(GROUPS, 16),
            "asked": dict.fromkeys(GROUPS, ratio),
            "removed": {group: list(range(width, 16)) for group in GROUPS},
        }
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "model.onnx").write_bytes(onnx)
            (folder / "plan.json").write_text(json.dumps(plan))
            (folder / "state_dict.pt").write_bytes(state)
            (folder / "measurement.json").write_text(json.dumps(figures))
            sums = {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in folder.iterdir()}
            manifest = {"sha256": sums, "versions": {"ray": "2.60"}, "made_at": time.time()}
            (folder / "manifest.json").write_text(json.dumps(manifest))
            tune.report(report, checkpoint=tune.Checkpoint.from_directory(folder))

    return trial


@pytest.fixture(scope="session")
def search(ray_cluster: None, stub_trial: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Runs ``stub_trial`` for a list of configs and returns the ``ResultGrid``."""

    def run(configs: list[dict[str, Any]], *, name: str = "search", **run_config: Any) -> Any:
        storage = run_config.pop("storage_path", None) or tmp_path_factory.mktemp("tune")
        space = {f"pruning_ratio:{group}": tune.uniform(0, 1) for group in GROUPS}
        tuner = tune.Tuner(
            tune.with_resources(stub_trial, {"cpu": 1}),
            param_space={**space, "end": tune.choice(["done"])},
            tune_config=tune.TuneConfig(
                metric="score",
                mode="max",
                reuse_actors=True,
                num_samples=len(configs),
                search_alg=BasicVariantGenerator(points_to_evaluate=configs),
            ),
            run_config=tune.RunConfig(
                name=name, storage_path=str(storage), verbose=0, **run_config
            ),
        )
        return tuner.fit()

    return run


@pytest.fixture(scope="session")
def results(search: Any) -> Any:
    """A small search with an ending of each kind, the unpruned network first."""
    ratios = [0.0, 0.2, 0.4, 0.6, 0.8, 0.3, 0.5, 0.1]
    ends = ["infeasible", "done", "done", "done", "done", "failed", "late", "done"]
    return search([point(ratio, end) for ratio, end in zip(ratios, ends, strict=True)])


def point(ratio: float, end: str = "done") -> dict[str, Any]:
    return {**{f"pruning_ratio:{group}": ratio for group in GROUPS}, "end": end}


def _state(model: torch.nn.Module) -> bytes:
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    return file.getvalue()
