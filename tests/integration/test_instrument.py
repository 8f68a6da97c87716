"""Real children: what is special to a device, and all that fails."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

import raytune_edge
from raytune_edge.config import Timing
from raytune_edge.errors import (
    DeviceDiedError,
    DeviceError,
    DeviceTimeoutError,
    ModelProofError,
    NoDeviceError,
    NoRuntimeError,
    UnsupportedModelError,
)
from raytune_edge.export import export_onnx
from raytune_edge.runtimes import (
    MAX_MODEL_BYTES,
    DeviceSpec,
    Instrument,
    check_model_bytes,
    device_spec,
    ir,
)
from raytune_edge.runtimes.models import sha256_of
from raytune_edge.testing import FakeDevice

QUICK = Timing(min_s=0.0, max_s=2.0, throughput_s=0.1, warmup_s=0.05, timeout_s=30.0)


def network(width: int = 8) -> bytes:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, width, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, 10),
    )
    return export_onnx(model, torch.rand(1, 3, 16, 16)).onnx


@pytest.fixture
def instrument() -> Iterator[Callable[..., Instrument]]:
    made: list[Instrument] = []

    def make(device: Any, **options: Any) -> Instrument:
        made.append(Instrument(device_spec(device), **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_accuracy_on_the_device_is_that_of_pytorch(
    instrument: Callable[..., Instrument],
) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(27, 10)).eval()
    images = torch.rand(50, 3, 3, 3)
    labels = model(images).argmax(1)
    labels[:10] = (labels[:10] + 1) % 10
    exported = export_onnx(model, images[:1])
    sample = (images.numpy(), labels.numpy())
    record = instrument("CPU").measure(
        exported.onnx, Timing(precision="f32", min_s=0, throughput_s=0), sample=sample
    )
    assert record.top1 == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("die", DeviceDiedError),
        ("segfault", DeviceDiedError),
        ("hang", DeviceTimeoutError),
        ("garbage", DeviceDiedError),
        ("replay", ModelProofError),
        ("error", DeviceError),
        ("unsupported", UnsupportedModelError),
    ],
)
def test_each_fault_is_a_typed_error_and_the_next_answer_is_right(
    fault: Any, error: type[Exception], instrument: Callable[..., Instrument]
) -> None:
    each = instrument(FakeDevice(latency_ms=2.0, faults=["ok", fault]))
    timing = Timing(timeout_s=1.0 if fault == "hang" else 20.0)
    each.measure(network(), timing)
    start = time.monotonic()
    with pytest.raises(error):
        each.measure(network(16), timing)
    assert time.monotonic() - start < 10
    assert each.measure(network(), timing).latency_p50_ms == pytest.approx(2.0, rel=0.02)


@pytest.mark.parametrize("fault", ["ok", "unsupported"])
def test_a_model_that_changed_on_its_way_is_no_evidence(
    fault: Any, instrument: Callable[..., Instrument]
) -> None:
    each = instrument(FakeDevice(faults=[fault]))
    with pytest.raises(ModelProofError, match=r"another request's|not the one"):
        each.measure(network(), sha256=sha256_of(network(16)))
    assert each.measure(network(), sha256=sha256_of(network())).samples > 0


def test_a_model_may_come_in_pieces(instrument: Callable[..., Instrument]) -> None:
    model = network()
    measured = instrument(FakeDevice()).measure([model[:100], memoryview(model)[100:]])
    assert measured.model_sha256 == sha256_of(model)


def gone(pid: int, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while (alive := Path(f"/proc/{pid}").exists()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive


@pytest.mark.parametrize("faults", ["[]", "['hang']"], ids=["idle", "hanging"])
def test_a_child_does_not_outlive_its_parent(faults: str) -> None:
    parent = f"""
import os, threading, time
from raytune_edge.runtimes import Instrument, device_spec
from raytune_edge.testing import FakeDevice
each = Instrument(device_spec(FakeDevice(any_model=True, faults={faults})))
print(each.hello().pid, flush=True)
threading.Thread(target=each.measure, args=(b"model",), daemon=True).start()
time.sleep(0.5)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL
    assert gone(int(done.stdout), within_s=5.0)


def test_a_busy_neighbour_on_the_core_is_told(instrument: Callable[..., Instrument]) -> None:
    core = max(os.sched_getaffinity(0))
    # A block has to outlast many of the scheduler's slices, and the neighbour has to be there.
    timing = Timing(
        block_requests=1_000_000,
        block_s=0.3,
        min_s=0.0,
        max_s=1.5,
        pressure_retries=1,
        throughput_s=0.0,
    )
    busy = f"import os; os.sched_setaffinity(0, {{{core}}}); print(flush=True)\nwhile True: pass"
    hog = subprocess.Popen([sys.executable, "-c", busy], stdout=subprocess.PIPE)
    assert hog.stdout is not None
    hog.stdout.readline()
    try:
        record = instrument("CPU", core=core).measure(network(64), timing)
    finally:
        hog.kill()
        hog.communicate()
    assert record.cpu_wait is not None
    assert record.cpu_wait > 0.2
    assert "wanted by others" in record.flags[0]


def test_what_a_plugin_prints_is_not_taken_for_an_answer(tmp_path: Path) -> None:
    child = Path(raytune_edge.__file__).parent / "runtimes" / "worker" / "__main__.py"
    code = f"""
import importlib.util, os
spec = importlib.util.spec_from_file_location("child", {str(child)!r})
child = importlib.util.module_from_spec(spec)
spec.loader.exec_module(child)
answers = child.private_output()
os.write(1, b"noise of a native plugin")
answers.write("answer")
answers.flush()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "answer"
    assert done.stderr == "noise of a native plugin"


def test_the_fakes_latency_can_be_a_function_of_the_model(
    instrument: Callable[..., Instrument],
) -> None:
    each = instrument(FakeDevice(latency_ms=lambda model: len(model) / 10, any_model=True))
    assert each.measure(b"x" * 20, QUICK).latency_p50_ms == pytest.approx(2.0, rel=0.02)
    assert each.measure(b"x" * 50, QUICK).latency_p50_ms == pytest.approx(5.0, rel=0.02)


def test_an_interpreter_that_is_missing_is_named(instrument: Callable[..., Instrument]) -> None:
    spec = DeviceSpec(device="CPU", python="/no/such/python")
    with pytest.raises(DeviceDiedError, match="/no/such/python"):
        instrument(spec).hello()


def test_a_runtime_that_is_missing_is_named(instrument: Callable[..., Instrument]) -> None:
    with pytest.raises(NoRuntimeError, match="'nowhere' cannot be loaded: No module named 'nowher"):
        instrument(DeviceSpec(device="CPU", runtime="nowhere")).hello()


def test_a_sample_that_does_not_fit_is_the_callers_fault(
    instrument: Callable[..., Instrument],
) -> None:
    sample = (np.zeros((2, 3, 8, 8), np.float32), np.zeros(2, np.int64))
    with pytest.raises(ValueError, match=r"takes \[\(1, 3, 16, 16\)\].*\(1, 3, 8, 8\)"):
        instrument("CPU").measure(network(), QUICK, sample=sample)


@pytest.mark.parametrize(
    "labels",
    [np.arange(20), np.eye(10, dtype=int), np.zeros(0, int)],
    ids=["20", "one-hot", "none"],
)
def test_labels_that_are_not_one_for_each_image_never_travel(
    labels: Any, instrument: Callable[..., Instrument]
) -> None:
    each = instrument("CPU")
    with pytest.raises(ValueError, match="a class number for each of the 10 images"):
        each.measure(network(), QUICK, sample=(np.zeros((10, 3, 16, 16), np.float32), labels))
    assert each.pid is None


def test_a_precision_that_the_device_lacks_is_the_callers_fault(
    instrument: Callable[..., Instrument],
) -> None:
    each = instrument("CPU")
    with pytest.raises(ValueError, match=r"CPU does not take Timing\(precision='f64'\).*bf16"):
        each.measure(network(), Timing(precision="f64"))
    assert each.measure(network(), QUICK).samples > 0


def test_weights_in_another_file_are_told_with_the_command_that_writes_it_whole(
    instrument: Callable[..., Instrument], tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    model = onnx.load_from_string(network())
    onnx.save(model, path, save_as_external_data=True, size_threshold=0)
    with pytest.raises(UnsupportedModelError, match=r"one that keeps \d+ .*onnx\.save\(onnx\.load"):
        instrument("CPU").measure(path.read_bytes(), QUICK)


@pytest.mark.parametrize("device", ["GPU", "AUTO", "HETERO:GPU,CPU", "CPU.3"])
def test_a_device_that_is_not_there_is_told_with_those_that_are(
    device: str, instrument: Callable[..., Instrument]
) -> None:
    # AUTO would run on whatever there is: nobody could say what was measured.
    with pytest.raises(NoDeviceError, match=rf"no device '{device}'.*CPU"):
        instrument(device).measure(network())


def test_a_file_that_is_cut_short_is_refused(instrument: Callable[..., Instrument]) -> None:
    whole = network()
    with pytest.raises(UnsupportedModelError, match="whole ONNX file"):
        instrument("CPU").measure(whole[: len(whole) // 2], QUICK)


def test_a_disk_without_room_is_told_and_the_child_goes_on(
    instrument: Callable[..., Instrument],
) -> None:
    each = instrument(FakeDevice(any_model=True))
    pid = each.hello().pid
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, hard))
    try:
        with pytest.raises(DeviceError, match=r"expected room for the model in .* set TMPDIR"):
            each.measure(b"\x08" * 2 * 10**6, QUICK)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert each.measure(b"\x08" * 2 * 10**6, QUICK).samples > 0
    assert each.pid == pid


def test_an_empty_model_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="got 0 bytes; export it once more"):
        check_model_bytes(b"")


def test_a_huge_model_is_refused_before_it_travels() -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return 3 * 10**9

    with pytest.raises(UnsupportedModelError, match=f"at most {MAX_MODEL_BYTES:,} bytes"):
        check_model_bytes(Huge(b"onnx"))


def relu(shape: list[Any], inputs: int = 1) -> bytes:
    names = [f"x{number}" for number in range(inputs)]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Sum", names, ["y"])],
        "sum",
        [value(name, TensorProto.FLOAT, shape) for name in names],
        [value("y", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def test_a_dynamic_shape_needs_to_be_given(instrument: Callable[..., Instrument]) -> None:
    each = instrument("CPU")
    model = relu(["batch", 3, 8, 8])
    with pytest.raises(UnsupportedModelError, match=r"dynamic.*Timing\(input_shape="):
        each.measure(model, QUICK)
    shape = (np.int64(1), 3, 8, 8)  # as arrays have it
    timing = Timing(input_shape=shape, min_s=0.0, throughput_s=0.0)
    assert each.measure(model, timing).samples > 0


def test_the_converter_is_a_child_like_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise RuntimeError('another interpreter's')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    model, xml = tmp_path / "model.onnx", tmp_path / "model.xml"
    model.write_bytes(network())
    ir.convert(model, xml)
    assert xml.with_suffix(".bin").stat().st_size > 0
    found = ir.compare(model, xml)
    assert 0 <= found.difference < 0.02 * found.largest
    model.write_bytes(b"# no model")
    with pytest.raises(UnsupportedModelError, match="cannot convert this model"):
        ir.convert(model, xml)
    monkeypatch.setattr(ir, "_TIMEOUT_S", 0.05)
    with pytest.raises(DeviceTimeoutError, match=r"did not answer 'compare' in 0\.05 s"):
        ir.compare(model, xml)


def test_several_inputs_are_measured(instrument: Callable[..., Instrument]) -> None:
    assert instrument("CPU").measure(relu([1, 3, 8, 8], inputs=2), QUICK).samples > 0
