"""What is handed over to be deployed: one folder that says what it is and can be checked."""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from raytune_edge.analysis.files import FILES, checkpoint_folder, checkpoint_uri, read_json
from raytune_edge.analysis.write import prepare_folder
from raytune_edge.errors import BundleError, OutputError, ParityError
from raytune_edge.runtimes.ir import Agreement, compare, convert
from raytune_edge.runtimes.ncs2.deploy import write_for_stick

if TYPE_CHECKING:
    from raytune_edge.task import Task

__all__ = ["MANIFEST", "STICK_XML", "agreement", "check_files", "export_bundle"]

MANIFEST = "manifest.json"
STICK_XML = "ncs2.xml"
TOLERANCE = {"f16": 0.02, "f32": 0.001}
"""Largest difference of outputs, as a share of the largest output, by the weights' precision."""

_METRICS = ("top1", "test_top1", "latency_p50_ms", "throughput_fps", "macs", "params")


def export_bundle(
    result: Any,
    path: str | os.PathLike[str],
    *,
    task: Task | None = None,
    fp16: bool = True,
    ncs2: bool | None = None,
) -> Path:
    """Write all that is needed to deploy a finished trial's network into one folder.

    ``model.onnx``; ``model.xml`` and ``model.bin``, the same for OpenVINO; ``labels.txt``;
    ``input.json`` (shape, layout, normalisation, labels); ``measurement.json``; ``plan.json``;
    ``state_dict.pt``; ``run.py``, which classifies an image; and ``manifest.json`` with the SHA-256
    sum of each. For the Neural Compute Stick 2 also ``ncs2.xml`` and ``ncs2.bin``, in FP16 and the
    format of OpenVINO 2021.4, and ``ncs2.blob``, compiled for the stick. An earlier bundle at
    ``path`` is replaced; anything else there is left alone.

    Args:
        result: A ``Result`` of Tune, such as ``results.get_best_result()``, or a row of
            `to_frame`.
        task: Tells labels and normalisation; without one labels are numbers, and pixels are
            scaled to [0, 1] only.
        fp16: Keep OpenVINO's weights as FP16, else as FP32.
        ncs2: Whether to write the stick's files, which needs its runtime but no stick; by default
            if the network was measured on one.

    Raises:
        ValueError: If the trial left no network.
        UnsupportedModelError: If the stick cannot run the network.
        NoRuntimeError: If the stick's runtime is missing; the message says what makes it.
        BundleError: If its files are not those that it wrote.
        ParityError: If OpenVINO's network gives other outputs than the ONNX file.
        OutputError: If ``path`` cannot be written or holds something else.
    """
    row = _row(result)
    target = Path(path)
    if target.exists() and any(target.iterdir()) and not (target / MANIFEST).exists():
        raise OutputError(f"{target} is not empty and no bundle: give another folder")
    prepare_folder(target.parent)
    with (
        checkpoint_folder(row) as source,
        tempfile.TemporaryDirectory(dir=target.parent, prefix=".bundle-") as made,
    ):
        if source is None or not (source / "model.onnx").is_file():
            raise ValueError(
                "this trial left no network to deploy: expected one that ended as 'done', got "
                f"{row.get('stage')!r}. {row.get('reason', '')}".strip()
            )
        check_files(source)
        folder = Path(made, "bundle")
        folder.mkdir()
        for name in FILES:
            if name != MANIFEST:
                shutil.copyfile(source / name, folder / name)
        described = describe_input(folder / "model.onnx", task)
        (folder / "input.json").write_text(json.dumps(described, indent=2) + "\n")
        (folder / "labels.txt").write_text("\n".join(described["labels"]) + "\n")
        template = importlib.resources.files("raytune_edge.analysis") / "templates/run.py.txt"
        (folder / "run.py").write_text(template.read_text())
        convert(folder / "model.onnx", folder / "model.xml", fp16=fp16)
        precision = "f16" if fp16 else "f32"
        agreement(folder, precision)
        if _for_stick(folder) if ncs2 is None else ncs2:
            write_for_stick((folder / "model.onnx").read_bytes(), folder / STICK_XML)
            agreement(folder, "f16", STICK_XML)
        _write_manifest(folder, row, precision, read_json(row, MANIFEST).get("versions", {}))
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
    return target


def check_files(folder: Path) -> dict[str, Any]:
    """The manifest of ``folder``, whose files are what it says.

    Raises:
        BundleError: If there is no manifest, or a file is missing or changed; it names them all.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        sums: dict[str, str] = manifest["sha256"]
    except (OSError, ValueError, KeyError) as error:
        raise BundleError(f"{folder} has no readable {MANIFEST}: {error!r}") from error
    wrong = [
        f"{name} ({'changed' if (folder / name).is_file() else 'missing'})"
        for name, told in sums.items()
        if not (folder / name).is_file() or _sha256(folder / name) != told
    ]
    if wrong:
        raise BundleError(f"files in {folder} are not those that were written: {', '.join(wrong)}")
    return manifest


def agreement(folder: Path, precision: str, xml: str = "model.xml") -> Agreement:
    """How far OpenVINO's network ``xml`` is from the ONNX file.

    Raises:
        ParityError: If further than its precision explains.
    """
    found = compare(folder / "model.onnx", folder / xml)
    if not found.difference <= TOLERANCE[precision] * found.largest:
        raise ParityError(
            f"{xml} gives other outputs than model.onnx: they differ by {found.difference:.3g} "
            f"where the largest is {found.largest:.3g}; expected at most "
            f"{TOLERANCE[precision]:.1%} of it for {precision} weights"
        )
    return found


def describe_input(model: Path, task: Task | None) -> dict[str, Any]:
    """What ``model`` takes, and how pixels become that."""
    import onnx

    graph = onnx.load(str(model), load_external_data=False).graph
    taken = graph.input[0]
    shape = [each.dim_value for each in taken.type.tensor_type.shape.dim]
    classes = graph.output[0].type.tensor_type.shape.dim[-1].dim_value
    labels = (task.labels if task else ()) or tuple(str(number) for number in range(classes))
    return {
        "name": taken.name,
        "shape": shape,
        "type": "float32",
        "layout": "NCHW",
        "colour": "RGB" if shape[1] == 3 else "grey",
        "pixels": "(value / 255 - mean) / std",
        "mean": list(task.mean if task else (0.0,)),
        "std": list(task.std if task else (1.0,)),
        "labels": list(labels),
    }


def _for_stick(folder: Path) -> bool:
    device = json.loads((folder / "measurement.json").read_text()).get("device", "")
    return str(device).startswith("MYRIAD")


def _write_manifest(folder: Path, row: pd.Series, precision: str, versions: dict[str, str]) -> None:
    manifest = {
        "sha256": {file.name: _sha256(file) for file in sorted(folder.iterdir())},
        "ir_precision": precision,
        "trial_id": str(row.get("trial_id", "")),
        "metrics": {name: float(row[name]) for name in _METRICS if row.get(name) is not None},
        "versions": versions,
        "made_at": time.time(),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")


def _row(result: Any) -> pd.Series:
    if isinstance(result, pd.Series):
        return result
    where = checkpoint_uri(result.checkpoint) if result.checkpoint else ""
    return pd.Series({**(result.metrics or {}), "checkpoint": where})


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
