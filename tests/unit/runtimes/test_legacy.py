"""What the stick's child asks of OpenVINO 2021.4, with a plugin that is written down."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import raytune_edge
from raytune_edge.testing.conformance import convolutions, flatten

WORKER = Path(raytune_edge.__file__).parent / "runtimes" / "worker"
MODULES = ("legacy", "stickless", "common", "myriad", "onnx_opset", "protocol", "loop")
SETTINGS = {"threads": 1, "precision": None}


class ScriptedCore:
    """The plugin of a host with two sticks; compiled networks tell what was asked for."""

    metrics: tuple[str, ...] = ("DEVICE_THERMAL",)

    def __init__(self) -> None:
        self.loads: list[tuple[str, dict[str, str]]] = []

    def get_metric(self, device: str, name: str) -> Any:
        if name == "AVAILABLE_DEVICES":
            return ["1.3-ma2480", "1.4-ma2480"]
        return f"a Myriad X ({device})"

    def read_network(self, *source: Any, **options: Any) -> Any:
        return network()

    def load_network(self, model: Any, device: str, config: Any, num_requests: int = 1) -> Any:
        self.loads.append((device, dict(config)))
        blob = SimpleNamespace(buffer=np.zeros((1, 3, 4, 4), np.float16))
        request = SimpleNamespace(
            input_blobs={"image": blob}, infer=lambda: None, async_infer=lambda: None
        )
        told = {"SUPPORTED_METRICS": self.metrics, "DEVICE_THERMAL": 41.5}
        return SimpleNamespace(
            requests=[request] * num_requests or [request], get_metric=told.__getitem__
        )


def network() -> Any:
    image = SimpleNamespace(precision="FP32", input_data=SimpleNamespace(shape=[1, 3, 4, 4]))
    return SimpleNamespace(
        input_info={"image": image},
        outputs={"a": SimpleNamespace(precision="FP32"), "b": SimpleNamespace(precision="I32")},
    )


@pytest.fixture
def legacy(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The child's module, imported as the child does, with OpenVINO written down."""
    engine = ModuleType("openvino.inference_engine")
    engine.IECore = ScriptedCore  # type: ignore[attr-defined]
    engine.get_version = lambda: "2021.4.2-3976-abc"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "openvino.inference_engine", engine)
    monkeypatch.setitem(sys.modules, "openvino", ModuleType("openvino"))
    monkeypatch.syspath_prepend(str(WORKER))
    yield importlib.import_module("legacy")
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def stick(tmp_path: Path) -> list[str]:
    """A booted stick's folders in sysfs: it moved from the first to the second."""
    folder = tmp_path / "2-4"
    folder.mkdir()
    (folder / "idProduct").write_text("f63b\n")
    (folder / "speed").write_text("5000\n")
    return [str(tmp_path / "1-4"), str(folder)]


@pytest.fixture
def runtime(legacy: ModuleType, stick: list[str]) -> Any:
    return legacy.Runtime(SimpleNamespace(stick=",".join(stick)))


def test_our_stick_is_booted_once_and_told_with_its_link(runtime: Any) -> None:
    name = "a Myriad X (MYRIAD.1.4-ma2480), USB at 5000 Mbit/s"
    assert runtime.devices() == {"MYRIAD": name}
    assert runtime.devices() == {"MYRIAD": name}
    assert runtime.core.loads == [("MYRIAD", {"DEVICE_ID": "1.4-ma2480"})]


def test_latency_has_one_stream_throughput_the_default_and_both_fp16(runtime: Any) -> None:
    model = network()
    runtime.compile(model, "MYRIAD", SETTINGS)
    runtime.compile(model, "MYRIAD", SETTINGS, throughput=True)
    runtime.compile(model, "MYRIAD", SETTINGS, profile=True)
    ours = {"DEVICE_ID": "1.4-ma2480"}
    assert [config for _, config in runtime.core.loads[1:]] == [
        ours | {"MYRIAD_THROUGHPUT_STREAMS": "1"},
        ours,
        ours | {"MYRIAD_THROUGHPUT_STREAMS": "1", "PERF_COUNT": "YES"},
    ]
    assert model.input_info["image"].precision == "FP16"
    assert [each.precision for each in model.outputs.values()] == ["FP16", "I32"]


def test_a_stick_tells_its_temperature_and_the_speed_of_its_link(runtime: Any) -> None:
    facts = runtime.compile(network(), "MYRIAD", SETTINGS).facts()
    assert (facts["temperature_c"], facts["usb_mbps"]) == (41.5, 5000)
    assert (facts["precision"], facts["streams"]) == ("f16", 1)


def test_what_was_compiled_for_something_else_is_no_measurement_of_a_stick(runtime: Any) -> None:
    runtime.core.metrics = ("NETWORK_NAME",)
    with pytest.raises(RuntimeError, match="compiled for something else"):
        runtime.compile(network(), "MYRIAD", SETTINGS)


@pytest.mark.parametrize(
    ("listed", "wanted"),
    [
        (["1.3-ma2480", "1.4-ma2480"], "1.4-ma2480"),
        (["3-ma2480", "4-ma2480"], "4-ma2480"),  # a build that leaves the bus out
        (["4-ma2480", "1.4-ma2480"], "1.4-ma2480"),
    ],
)
def test_the_plugins_name_for_our_stick_is_found(
    legacy: ModuleType, listed: list[str], wanted: str
) -> None:
    folders = ["/sys/bus/usb/devices/1-4", "/sys/bus/usb/devices/2-4"]
    assert legacy.myriad.stick_id(listed, folders) == wanted


@pytest.mark.parametrize("listed", [[], ["1.3-ma2480"]])
def test_another_stick_is_not_taken_for_ours(legacy: ModuleType, listed: list[str]) -> None:
    with pytest.raises(RuntimeError, match=r"no stick at USB 1\.4"):
        legacy.myriad.stick_id(listed, ["/sys/bus/usb/devices/1-4"])


def test_a_stick_that_is_not_booted_has_no_speed_yet(legacy: ModuleType, stick: list[str]) -> None:
    assert legacy.myriad.usb_mbps(stick[:1]) is None
    Path(stick[1], "idProduct").write_text("2485\n")
    assert legacy.myriad.usb_mbps(stick) is None


@pytest.mark.parametrize(
    ("words", "models_fault"),
    [
        ('Failed to compile layer "x": unsupported layer type "HardSigmoid"', True),
        ("Failed to allocate graph: NC_OUT_OF_MEMORY", True),
        ("Can not init Myriad device: NC_ERROR", False),
        ("Failed to queue inference: NC_ERROR", False),
        ("Myriad device: 1.3-ma2480 not found.", False),
        ('Failed to compile layer "ENC_1": unsupported layer type "Sin"', True),
        ('Failed to compile layer "NC_1": Failed to get its stride', True),
        ("OpenVINO does not support the following ONNX operations: IsNaN (NC_ERROR)", True),
        ("While validating ONNX node '<Node(Conv): SYNC_bn>'", True),
        ("Check 'FUNC_x' failed at FUNC_x", True),
        ("ncDeviceOpen: NC_TIMEOUT", False),
        ('Failed to compile layer "x": std::bad_alloc', False),
    ],
)
def test_errors_tell_whose_fault_they_are(
    legacy: ModuleType, words: str, models_fault: bool
) -> None:
    refused = legacy.refusal(RuntimeError(f"[ GENERAL_ERROR ]\n/a/file.cpp:7 {words}"), "no")
    assert isinstance(refused, legacy.UnsupportedModel) == models_fault
    assert words in str(refused)


def onnx_file(
    path: Path, opset: int, *others: str, domain: str = "", operator: str = "Relu", **more: Any
) -> Path:
    node = helper.make_node(operator, ["x"], ["y"], **more)
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 4)) for name in "xy"]
    model = helper.make_model(
        helper.make_graph([node], "relu", value[:1], value[1:]),
        opset_imports=[*(helper.make_opsetid(each, 3) for each in others),
                       helper.make_opsetid(domain, opset)],
    )  # fmt: skip
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("domain", ["", "ai.onnx"])
@pytest.mark.parametrize("opset", [1, 11, 13, 18, 300])
def test_the_opset_is_that_of_onnx(
    legacy: ModuleType, tmp_path: Path, opset: int, domain: str
) -> None:
    path = onnx_file(tmp_path / "model.onnx", opset, "ai.onnx.ml", domain=domain)
    assert legacy.onnx_opset.of(str(path)) == opset


@pytest.mark.parametrize(
    "damage", [b"", b"# Not a model, but a text file.\n" * 20, convolutions(8)[:999], b"\xff" * 99]
)
def test_what_is_no_model_has_no_opset(legacy: ModuleType, tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(damage)
    assert legacy.onnx_opset.of(str(path)) is None


def test_a_newer_opset_than_this_runtime_reads_rightly_is_refused(
    runtime: Any, legacy: ModuleType, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(flatten(10))
    assert runtime.read(str(path), None) is not None
    with pytest.raises(legacy.UnsupportedModel, match=r"opset 18, openvino 2021\.4\.2 reads up"):
        runtime.read(str(onnx_file(path, 18)), None)
    with pytest.raises(legacy.UnsupportedModel, match="opset 18"):
        runtime.read(str(onnx_file(path, 18, domain="ai.onnx")), None)


def test_a_model_that_tells_no_opset_is_refused(
    runtime: Any, legacy: ModuleType, tmp_path: Path
) -> None:
    with pytest.raises(legacy.UnsupportedModel, match=r"whole ONNX file.*tells no opset"):
        runtime.read(str(onnx_file(tmp_path / "model.onnx", 3, domain="com.microsoft")), None)


@pytest.mark.parametrize(
    ("more", "dilated"),
    [
        ({"dilations": [2, 1]}, True),
        ({"dilations": [1, 1]}, False),
        ({}, False),
        ({"operator": "Conv", "dilations": [2, 2]}, False),
    ],
)
def test_a_pool_whose_dilations_this_runtime_ignores_is_refused_by_name(
    runtime: Any, legacy: ModuleType, tmp_path: Path, more: dict[str, Any], dilated: bool
) -> None:
    node = {"operator": "MaxPool", "kernel_shape": [3, 3], "name": "pool1", **more}
    path = str(onnx_file(tmp_path / "model.onnx", 13, **node))
    assert legacy.onnx_opset.dilated_pool(path) == ("pool1" if dilated else None)
    if dilated:
        with pytest.raises(legacy.UnsupportedModel, match=r"MaxPool \(pool1\) has dilations"):
            runtime.read(path, None)
    else:
        runtime.read(path, None)


@pytest.mark.parametrize(("size", "found"), [(1, None), (2, "y")])
def test_packed_dilations_of_a_pool_without_a_name_are_read(
    legacy: ModuleType, tmp_path: Path, size: int, found: str | None
) -> None:
    path = onnx_file(tmp_path / "m.onnx", 13, operator="MaxPool", dilations=[size, size])
    plain = b"dilations" + bytes([0x40, size]) * 2  # field 8, twice
    packed = b"dilations" + bytes([0x42, 2, size, size])  # field 8, two bytes of them: as long
    model = path.read_bytes()
    assert plain in model
    path.write_bytes(model.replace(plain, packed))
    assert legacy.onnx_opset.dilated_pool(str(path)) == found


def sysfs(folder: Path, *sticks: str) -> None:
    for name in sticks:
        (folder / name).mkdir()
        (folder / name / "idVendor").write_text("03e7\n")


def test_a_name_with_its_bus_is_not_read_as_one_without(legacy: ModuleType, tmp_path: Path) -> None:
    """The stick in port 1.4 of bus 2 is not listed; that in port 4 of bus 1 is another one."""
    sysfs(tmp_path, "2-1.4", "1-4")
    ours = [str(tmp_path / "2-1.4")]
    with pytest.raises(RuntimeError, match=r"no stick at USB 2\.1\.4"):
        legacy.myriad.stick_id(["1.4-ma2480"], ours)
    assert legacy.myriad.stick_id(["1.4-ma2480", "2.1.4-ma2480"], ours) == "2.1.4-ma2480"
    (tmp_path / "1-4/idVendor").write_text("046d\n")  # a mouse: then it is named without the bus
    assert legacy.myriad.stick_id(["1.4-ma2480"], ours) == "1.4-ma2480"


@pytest.mark.usefixtures("legacy")
@pytest.mark.parametrize(
    "libusb", [SimpleNamespace(), SimpleNamespace(libusb_set_option=lambda *_: -12)]
)
def test_a_libusb_that_cannot_be_kept_off_sticks_is_told_with_the_package(
    libusb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of before 1.0.22, and of before 1.0.24. An ImportError is told as a missing runtime."""
    stickless = importlib.import_module("stickless")
    monkeypatch.setattr(stickless.ctypes, "CDLL", lambda name: libusb)
    with pytest.raises(ImportError, match=r"libusb 1\.0\.24 .* sudo apt install libusb-1\.0-0"):
        stickless.without_usb()
