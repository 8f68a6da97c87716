"""A stick is claimed, waited for, reset and given back, on hosts that are made up."""

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import onnx
import pytest
from onnx import TensorProto, helper

from raytune_edge import lowering
from raytune_edge.errors import NoDeviceError, NoRuntimeError, UnsupportedModelError
from raytune_edge.runtimes import locks
from raytune_edge.runtimes.locks import lock_file
from raytune_edge.runtimes.ncs2 import claim as module
from raytune_edge.runtimes.ncs2.claim import StickClaim
from raytune_edge.runtimes.ncs2.sticks import Stick
from raytune_edge.runtimes.spec import DeviceSpec
from raytune_edge.testing.conformance import convolutions
from tests.unit.runtimes.test_sticks import USB, plug_in


@dataclasses.dataclass
class Host:
    """A host whose clock runs by the pauses slept, with what happens meanwhile."""

    root: Path
    now_s: float = 0.0
    later: dict[float, Callable[[], object]] = dataclasses.field(default_factory=dict)
    resets: list[str] = dataclasses.field(default_factory=list)

    def sleep(self, pause_s: float) -> None:
        self.now_s += pause_s
        for at in [at for at in self.later if at <= self.now_s]:
            self.later.pop(at)()

    def monotonic(self) -> float:
        return self.now_s

    def turn(self, product: str) -> None:
        (self.root / USB / "1-3/idProduct").write_text(product)

    def reset(self, stick: Stick) -> None:
        self.resets.append(stick.socket)
        self.turn("2485")

    def claim(self, index: int = 0) -> StickClaim:
        spec = DeviceSpec(device="MYRIAD", python="python3.9", root=str(self.root))
        return StickClaim(spec, index=index)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    (tmp_path / "tmp").mkdir()
    made = Host(tmp_path)
    monkeypatch.setattr(module.time, "sleep", made.sleep)
    monkeypatch.setattr(module.time, "monotonic", made.monotonic)
    monkeypatch.setattr(module, "reset", made.reset)
    plug_in(tmp_path, "1-3")
    return made


def test_a_child_gets_the_legacy_runtime_a_stick_and_its_lock(host: Host) -> None:
    launch = host.claim().launch()
    told = " ".join(launch.command)
    assert launch.command[0] == "python3.9"
    assert "--device MYRIAD --runtime legacy" in told
    assert told.endswith(f"--stick {host.root / USB / '1-3'}")
    assert len(launch.keep_open) == 1
    assert host.now_s == 0


def test_each_unit_of_a_host_gets_a_stick_of_its_own_and_the_next_is_told(host: Host) -> None:
    plug_in(host.root, "1-4")
    first, second = host.claim(0), host.claim(1)
    assert first.launch().command[-1].endswith("1-3")
    assert second.launch().command[-1].endswith("1-4")
    ours = f"by process {os.getpid()}"
    with pytest.raises(NoDeviceError, match=rf"all 2 sticks.*1-3 {ours}; 1-4 {ours}.*as many"):
        host.claim(2).launch()
    host.later[host.now_s + 2.0] = second.release
    assert host.claim(0).launch().command[-1].endswith("1-4")


def test_a_host_without_a_stick_says_so_at_once_with_what_to_look_at(host: Host) -> None:
    shutil.rmtree(host.root / USB)
    with pytest.raises(NoDeviceError, match="USB shows none") as caught:
        host.claim().launch()
    for word in ("lsusb -d 03e7:", "doctor", "USB 3", "udev rule", "virtual machine"):
        assert word in str(caught.value)
    assert host.now_s == 0


def test_a_host_without_the_runtime_names_the_command_that_makes_it(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYTUNE_EDGE_NCS2", str(tmp_path / "nowhere"))
    spec = DeviceSpec(device="MYRIAD", root=str(host.root))
    with pytest.raises(NoRuntimeError, match="raytune-edge ncs2 install"):
        StickClaim(spec).launch()


def test_a_stick_that_was_just_closed_is_waited_for(host: Host) -> None:
    host.turn("f63b")
    host.later[3.0] = lambda: host.turn("2485")
    host.claim().launch()
    assert host.now_s == pytest.approx(3.0, abs=0.2)
    assert host.resets == []


def left_booted(host: Host) -> StickClaim:
    """A claim whose child left its stick booted."""
    claim = host.claim()
    claim.launch()
    host.turn("f63b")
    return claim


def test_a_stick_that_stays_booted_is_reset(host: Host) -> None:
    left_booted(host).launch()
    assert host.resets == ["1-3"]


def test_a_stick_that_somebody_unseen_booted_is_not_reset(host: Host) -> None:
    claim = left_booted(host)
    claim.release()  # from now on, another container may have it
    for each in (claim, host.claim()):
        with pytest.raises(NoDeviceError, match=r"another container.*is not reset.*replug it"):
            each.launch()
        each.release()
    assert host.resets == []


def test_a_stick_that_no_reset_helps_is_told_with_what_a_person_can_do(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = left_booted(host)
    monkeypatch.setattr(module, "reset", lambda stick: None)
    with pytest.raises(NoDeviceError, match=r"did not help; replug it.*uhubctl -l 1 -p 3"):
        claim.launch()
    assert host.now_s == pytest.approx(30.0, abs=0.5)


def test_a_reset_that_is_not_permitted_is_told(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(stick: Stick) -> None:
        raise PermissionError(13, "Permission denied")

    claim = left_booted(host)
    monkeypatch.setattr(module, "reset", refuse)
    with pytest.raises(NoDeviceError, match=r"cannot be reset \(Permission denied\)"):
        claim.launch()


def test_a_stick_that_another_program_has_open_is_left_alone(host: Host) -> None:
    host.turn("f63b")
    node = host.root / "dev/bus/usb/001/007"
    with node.open(), pytest.raises(NoDeviceError, match="in use by process"):
        host.claim().launch()
    assert host.resets == []
    assert host.now_s == 0


def test_a_node_that_udev_is_late_with_is_waited_for(host: Host) -> None:
    node = host.root / "dev/bus/usb/001/007"
    node.unlink()
    host.later[2.0] = node.touch
    host.claim().launch()
    assert host.now_s == pytest.approx(2.0, abs=0.2)


def test_a_node_that_comes_late_after_a_reset_is_waited_for(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = host.root / "dev/bus/usb/001/007"

    def reset(stick: Stick) -> None:
        host.reset(stick)
        node.unlink()
        host.later[host.now_s + 2.0] = node.touch

    claim = left_booted(host)
    monkeypatch.setattr(module, "reset", reset)
    claim.launch()
    assert host.now_s == pytest.approx(17.0, abs=0.3)


def test_a_node_that_stays_forbidden_is_told_after_some_seconds(host: Host) -> None:
    (host.root / "dev/bus/usb/001/007").unlink()
    with pytest.raises(NoDeviceError, match=r"USB 1-3.*cannot be used.*is missing"):
        host.claim().launch()
    assert host.now_s == pytest.approx(5.0, abs=0.2)


def test_a_lock_that_cannot_be_opened_hides_no_other_stick(host: Host) -> None:
    plug_in(host.root, "1-4")
    lock = lock_file("stick-1-3", host.root)
    lock.touch()
    denied = patch.object(locks, "_open", side_effect=refusing(lock))
    with denied:
        assert host.claim().launch().command[-1].endswith("1-4")
    shutil.rmtree(host.root / USB / "1-4")
    with denied, pytest.raises(NoDeviceError, match=r"1-3: the lock .* cannot be opened"):
        host.claim().launch()
    assert host.now_s == 0


def refusing(path: Path) -> Callable[[Path], int]:
    """Opens any lock but the one at ``path``."""
    well = locks._open

    def opened(each: Path) -> int:
        if each == path:
            raise PermissionError(13, "Permission denied")
        return well(each)

    return opened


def test_by_its_socket_one_stick_alone_is_taken(host: Host) -> None:
    plug_in(host.root, "1-4")
    spec = DeviceSpec(device="MYRIAD", python="python3.9", root=str(host.root))
    first = StickClaim(spec, index="1-4")
    assert first.launch().command[-1].endswith("1-4")
    with pytest.raises(NoDeviceError, match=r"1-4 by process"):
        StickClaim(spec, index="1-4").launch()


def test_a_stick_that_left_the_bus_is_waited_for(host: Host) -> None:
    claim = host.claim()
    claim.launch()
    shutil.rmtree(host.root / USB)
    host.later[2.0] = lambda: plug_in(host.root, "1-3")
    assert claim.launch().command[-1].endswith("1-3")
    assert host.now_s == pytest.approx(2.0, abs=0.2)


def test_a_stick_that_does_not_come_back_is_told_and_a_spare_one_takes_its_place(
    host: Host,
) -> None:
    claim = host.claim()
    claim.launch()
    shutil.rmtree(host.root / USB)
    with pytest.raises(NoDeviceError, match=r"at USB 1-3 left the bus.*USB shows none"):
        claim.launch()
    assert host.now_s == pytest.approx(15.0, abs=0.2)
    plug_in(host.root, "1-4")
    assert claim.launch().command[-1].endswith("1-4")
    shutil.rmtree(host.root / USB)
    plug_in(host.root, "1-3")
    assert claim.launch().command[-1].endswith("1-3")


def test_a_mutex_of_another_user_is_told_before_a_child_is_started(host: Host) -> None:
    (host.root / "tmp/mvnc.mutex").mkdir()
    with pytest.raises(NoDeviceError, match=r"USB 1-3.*cannot be used.*mvnc\.mutex"):
        host.claim().launch()


def written_in(opset: int, operator: str) -> bytes:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8]) for name in "xy")
    graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"])], "g", [x], [y])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return bytes(made.SerializeToString())


@pytest.mark.parametrize(("opset", "operator"), [(13, "HardSigmoid"), (18, "HardSwish")])
def test_what_the_sticks_runtime_lacks_is_said_in_older_words(
    host: Host, opset: int, operator: str
) -> None:
    translated = host.claim().translated(written_in(opset, operator))
    assert translated is not None
    model = onnx.load_from_string(translated)
    assert model.opset_import[0].version == 13
    assert operator not in {node.op_type for node in model.graph.node}


def test_what_needs_no_other_words_or_is_no_model_is_left_alone(host: Host) -> None:
    for each in (convolutions(4), b"# no model"):
        assert host.claim().translated(each) is None


def test_other_words_that_say_something_else_are_the_models_trouble(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(write: lowering.Rewriter) -> None:
        write.say("Identity", write.node.input[0], output=write.node.output[0])

    monkeypatch.setitem(lowering.RULES, "Mish", wrong)
    with pytest.raises(UnsupportedModelError, match="another output y"):
        host.claim().translated(written_in(18, "Mish"))


def test_what_has_no_older_words_is_refused_by_name(host: Host) -> None:
    with pytest.raises(UnsupportedModelError, match="BitwiseNot"):
        host.claim().translated(written_in(18, "BitwiseNot"))
