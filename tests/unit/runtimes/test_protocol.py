"""What a child answers, with runtimes that are written down."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import raytune_edge

WORKER = Path(raytune_edge.__file__).parent / "runtimes" / "worker"


@pytest.fixture
def protocol(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The child's module, imported as the child does: by its folder."""
    monkeypatch.syspath_prepend(str(WORKER))
    yield importlib.import_module("protocol")
    for name in ("common", "protocol", "loop"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("CPU", "a processor"),
        ("GPU", "the first"),
        ("GPU.1", "the second"),
        ("GPU.7", None),
        ("CPU.3", None),
        ("NPU", None),
        ("HETERO:GPU,CPU", None),
    ],
)
def test_a_device_is_what_was_asked_for_or_missing(
    protocol: ModuleType, device: str, name: str | None
) -> None:
    devices = {"GPU.1": "the second", "GPU.0": "the first", "CPU": "a processor"}
    runtime = SimpleNamespace(version="r 1", devices=lambda: devices)
    assert protocol.Worker(runtime, device).hello({})["device_name"] == name


@pytest.mark.parametrize("labels", [range(20), [], np.eye(10)], ids=["too many", "none", "one-hot"])
def test_labels_that_are_not_the_images_are_the_callers_fault(
    protocol: ModuleType, tmp_path: Path, labels: Any
) -> None:
    path = tmp_path / "sample.npz"
    compiled = SimpleNamespace(logits=lambda image: image)
    np.savez(path, images=np.eye(10), labels=np.arange(10))
    assert protocol.accuracy(compiled, str(path)) == {"top1": 1.0, "top5": 1.0}
    np.savez(path, images=np.eye(10), labels=np.asarray(labels))
    with pytest.raises(protocol.BadRequest, match="as many labels as images"):
        protocol.accuracy(compiled, str(path))


def test_a_sample_of_nothing_is_the_callers_fault(protocol: ModuleType, tmp_path: Path) -> None:
    np.savez(tmp_path / "sample.npz", images=np.zeros((0, 3)), labels=np.zeros(0, int))
    with pytest.raises(protocol.BadRequest):
        protocol.accuracy(None, str(tmp_path / "sample.npz"))


def test_a_runtime_that_is_not_installed_is_told_at_each_request(protocol: ModuleType) -> None:
    answer = protocol.Absent(ImportError("No module named 'openvino'")).answer({"id": 3})
    assert (answer["id"], answer["ok"], answer["error"]["type"]) == (3, False, "runtime")
    assert "openvino" in answer["error"]["message"]


def test_layers_are_averaged_but_not_for_long(
    protocol: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = importlib.import_module("common")
    now_s = iter(range(0, 1000, 2))  # two seconds pass between two looks at the clock
    monkeypatch.setattr(common.time, "perf_counter", lambda: next(now_s))
    runs: list[None] = []
    layers = common.mean_layers(lambda: runs.append(None), lambda: [("conv", "Convolution", 4.0)])
    assert layers == [{"name": "conv", "kind": "Convolution", "ms": 4.0}]
    assert len(runs) == 2
