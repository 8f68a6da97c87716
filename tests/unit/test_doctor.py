"""What the doctor finds on hosts that are made up."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from raytune_edge.config import Timing
from raytune_edge.devices import by_hand
from raytune_edge.devices.by_hand import Core, core_for
from raytune_edge.devices.cores import ClaimedCore
from raytune_edge.doctor import cluster, devices
from raytune_edge.doctor.cluster import Offer, ray_findings
from raytune_edge.doctor.devices import cpu_findings, device_findings, unseen_hardware
from raytune_edge.doctor.finding import Finding
from raytune_edge.doctor.sticks import stick_findings
from raytune_edge.errors import DeviceDiedError
from raytune_edge.ncs2 import CompileReport
from raytune_edge.runtimes import DeviceFacts, DeviceSpec, locks
from raytune_edge.runtimes.locks import take
from raytune_edge.runtimes.ncs2 import sticks
from tests.unit.runtimes.test_sticks import plug_in, socket


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def gpu(root: Path, vendor: str = "0x8086") -> Path:
    return write(
        root,
        {"dev/dri/renderD128": "", "sys/class/drm/renderD128/device/vendor": f"{vendor}\n"},
    )


def test_a_graphics_unit_without_driver_is_told_with_the_package(tmp_path: Path) -> None:
    (finding,) = unseen_hardware({"CPU": "a processor"}, gpu(tmp_path))
    assert finding.level == "warn"
    assert "renderD128" in finding.what
    assert "apt install --reinstall intel-opencl-icd" in finding.mend


def test_a_graphics_unit_that_is_not_allowed_is_told_with_the_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices.os, "access", lambda path, mode: False)
    (finding,) = unseen_hardware({}, gpu(tmp_path))
    assert "usermod -aG render" in finding.mend


@pytest.mark.parametrize(
    ("seen", "vendor"), [({"GPU.0": "ours"}, "0x8086"), ({"CPU": ""}, "0x10de")]
)
def test_what_is_seen_or_not_for_openvino_is_not_told(
    tmp_path: Path, seen: dict[str, str], vendor: str
) -> None:
    assert list(unseen_hardware(seen, gpu(tmp_path, vendor))) == []


def test_a_neural_unit_without_driver_is_told(tmp_path: Path) -> None:
    (finding,) = unseen_hardware({"CPU": ""}, write(tmp_path, {"dev/accel/accel0": ""}))
    assert finding.what.startswith("NPU")
    assert "linux-npu-driver" in finding.mend


def sticks_of(root: Path, python: str = "python3.9") -> list[Finding]:
    (root / "tmp").mkdir(exist_ok=True)
    return list(stick_findings(DeviceSpec(device="MYRIAD", python=python, root=str(root))))


def test_a_host_without_a_stick_fails_with_what_to_look_at(tmp_path: Path) -> None:
    runtime, missing = sticks_of(tmp_path)
    assert (runtime.level, missing.level) == ("ok", "fail")
    assert "expected a Neural Compute Stick 2" in missing.what
    assert "lsusb -d 03e7:" in missing.mend
    assert "doctor" not in missing.mend  # this is the doctor


def test_a_missing_runtime_and_a_foreign_mutex_fail_and_no_stick_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYTUNE_EDGE_NCS2", str(tmp_path / "nowhere"))
    plug_in(tmp_path, "1-3")
    (tmp_path / "tmp/mvnc.mutex").mkdir(parents=True)
    runtime, mutex, stick, link = sticks_of(tmp_path, python="")
    assert [each.level for each in (runtime, mutex, stick, link)] == ["fail"] * 2 + ["warn"] * 2
    assert runtime.mend == "raytune-edge ncs2 install"
    assert "belongs to user" in mutex.what
    assert mutex.mend == f"sudo rm {tmp_path}/tmp/mvnc.mutex"
    assert "at USB 1-3 (not booted); not tried" in stick.what


def test_a_mutex_of_a_user_who_runs_programs_is_no_failure_of_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plug_in(tmp_path, "1-3", "f63b")
    (tmp_path / "tmp/mvnc.mutex").mkdir(parents=True)
    monkeypatch.setattr(sticks.os, "geteuid", lambda: 54321)
    _, mutex, stick, _ = sticks_of(tmp_path)
    assert (mutex.level, stick.level) == ("warn", "warn")
    assert mutex.mend.startswith("sudo -u ")
    assert "not tried" in stick.what


def test_a_compiler_that_does_not_work_is_told_with_the_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = SimpleNamespace(openvino="2021.4.2", python="3.9", libusb=True)
    monkeypatch.setattr("raytune_edge.doctor.sticks.look", lambda: found)
    refusal = CompileReport(ok=False, reason="no")
    monkeypatch.setattr("raytune_edge.ncs2.check", lambda model: refusal)
    _, compiler, _ = sticks_of(tmp_path, python="")
    assert compiler.level == "fail"
    assert "raytune-edge ncs2 install --path" in compiler.mend


def test_a_stick_that_this_user_may_not_open_fails_with_the_rule(tmp_path: Path) -> None:
    plug_in(tmp_path, "1-3")
    (tmp_path / "dev/bus/usb/001/007").unlink()
    _, stick, _ = sticks_of(tmp_path)
    assert stick.level == "fail"
    assert "docker run" in stick.mend


def test_a_lock_that_cannot_be_opened_is_told_and_the_other_stick_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("1-3", "1-4"):
        plug_in(tmp_path, name)
    well = locks._open

    def opened(path: Path) -> int:
        if "1-3" in path.name:
            raise PermissionError(13, "Permission denied")
        return well(path)

    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp/raytune_edge-stick-1-3.lock").touch()
    monkeypatch.setattr(locks, "_open", opened)
    monkeypatch.setattr(
        "raytune_edge.doctor.sticks._measured",
        lambda told, stick, spec: Finding(level="ok", what=f"measured {stick.socket}"),
    )
    _, denied, _, other, _ = sticks_of(tmp_path)
    assert denied.level == "fail"
    assert "cannot be opened (Permission denied)" in denied.what
    assert denied.mend.startswith("let all users of this host take it: sudo chmod 644")
    assert other.what == "measured 1-4"


def test_a_stick_in_use_is_well_if_a_pool_has_it_and_left_alone_if_not(tmp_path: Path) -> None:
    socket(plug_in(tmp_path, "2-1", "f63b", "5000"), "usb2-port1", "usb1-port3")
    (tmp_path / "tmp").mkdir()
    lock = take("stick-1-3", tmp_path)
    assert lock is not None
    _, ours = sticks_of(tmp_path)
    assert ours.level == "ok"
    assert f"in use by the measuring process {os.getpid()}" in ours.what
    lock.release()
    with (tmp_path / "dev/bus/usb/002/007").open():
        _, theirs = sticks_of(tmp_path)
    assert (theirs.level, theirs.mend) == ("fail", f"kill {os.getpid()}")


@pytest.mark.parametrize(("product", "speed"), [("f63b", "480"), ("2485", "480")])
def test_a_stick_without_usb_3_is_told(tmp_path: Path, product: str, speed: str) -> None:
    plug_in(tmp_path, "1-3", product, speed)
    (tmp_path / "tmp").mkdir()
    lock = take("stick-1-3", tmp_path)
    *_, link = sticks_of(tmp_path)
    assert lock is not None
    lock.release()
    assert link.level == "warn"
    assert "USB 3 socket" in link.mend


@pytest.mark.parametrize(
    ("offer", "units", "level", "mend"),
    [
        (Offer(units=2, address="head:6379"), 2, "ok", ""),
        (Offer(units=3, address="head:6379"), 0, "ok", ""),
        (Offer(units=1, address="head:6379"), 2, "warn", "--resources='{\"ncs\": 2}'"),
        (Offer(units=0, address="head:6379"), 2, "warn", "--resources='{\"ncs\": 2}'"),
        (None, 0, "warn", "--resources='{\"ncs\": 1}'"),
    ],
)
def test_a_node_should_offer_as_many_units_as_there_are_sticks(
    offer: Offer | None, units: int, level: str, mend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "offer_here", lambda resource: offer)
    (finding,) = ray_findings("ncs", units)
    assert finding.level == level
    assert mend in finding.mend


@pytest.mark.parametrize(
    ("head", "command"),
    [
        (False, "ray stop && ray start --address=head:6380 --resources='{\"ncs\": 2}'"),
        (True, "ray stop && ray start --head --port=6380 --resources='{\"ncs\": 2}'"),
    ],
)
@pytest.mark.parametrize("units", [0, 1])
def test_a_head_is_started_again_as_one_and_what_that_costs_is_told(
    head: bool, command: str, units: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer = Offer(units=units, address="head:6380", head=head)
    monkeypatch.setattr(cluster, "offer_here", lambda resource: offer)
    (finding,) = ray_findings("ncs", 2)
    assert finding.mend.startswith(command)
    assert ("ends the cluster" in finding.mend) == head


class Scripted:
    """An `Instrument` of a host with a CPU that measures and a GPU that does not."""

    def __init__(self, spec: DeviceSpec, core: int | None = None) -> None:
        self.device = spec.device

    def hello(self) -> DeviceFacts:
        seen = {"CPU": "a processor", "GPU.0": "a graphics unit"}
        return DeviceFacts(
            runtime="openvino 2026.4.1", device_name="a", devices=seen, python="3.11", pid=1
        )

    def measure(self, model: bytes, timing: Timing) -> SimpleNamespace:
        if self.device != "CPU":
            raise DeviceDiedError("the measuring process ended")
        return SimpleNamespace(latency_p50_ms=1.0)

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("wanted", "mend"),
    [
        ("NPU", "linux-npu-driver/releases"),
        ("GPU.7", "name one that is there: CPU, GPU.0"),
        ("CPU.3", "name one that is there: CPU, GPU.0"),
        ("GPU", ""),
        ("GPU.0", ""),
        (None, ""),
    ],
)
def test_a_device_that_fails_or_is_missing_is_told_with_a_mend_of_its_own(
    wanted: str | None, mend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raytune_edge.runtimes.Instrument", Scripted)
    monkeypatch.setattr(by_hand, "Instrument", Scripted)
    monkeypatch.setattr(by_hand, "core_for", lambda name, threads: nullcontext(Core()))
    seen: dict[str, str] = {}
    cpu, gpu, *missing = device_findings(wanted, seen)
    assert (cpu.level, gpu.level) == ("ok", "fail")
    assert "intel-opencl-icd" in gpu.mend
    assert set(seen) == {"CPU", "GPU.0"}
    assert [each.level for each in missing] == ["fail"] * bool(mend)
    assert all(mend in each.mend for each in missing)


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[bool]]:
    """Two made-up cores; called with whether a pool has the quiet one."""
    cores = [frozenset({0}), frozenset({1})]
    monkeypatch.setattr("raytune_edge.devices.by_hand.allowed_cores", lambda: cores)
    released: list[bool] = []

    def claim(taken: bool) -> list[bool]:
        lock = SimpleNamespace(release=lambda: released.append(True))
        claimed = None if taken else ClaimedCore(cpus=cores[1], locks=(lock,))
        monkeypatch.setattr(
            "raytune_edge.devices.by_hand.claim_core", lambda allowed, units: claimed
        )
        return released

    return claim


def test_a_measurement_by_hand_claims_a_core_as_a_pool_does(
    two_cores: Callable[..., list[bool]],
) -> None:
    released = two_cores(taken=False)
    with core_for("CPU") as core:
        assert (core.cpu, core.doubt) == (1, "")
        assert not released
    assert released


def test_a_measurement_by_hand_leaves_a_pools_core_alone(
    two_cores: Callable[..., list[bool]],
) -> None:
    two_cores(taken=True)
    with core_for("CPU") as core:
        assert core.cpu == 0
        assert "no core of its own" in core.doubt
    with core_for("CPU", threads=2) as core:
        assert core.cpu is None
        assert "all cores" in core.doubt
    with core_for("GPU.0") as core:
        assert (core.cpu, core.doubt) == (None, "")


def host(root: Path, *, pressure: float = 0.0, governor: str = "performance") -> Path:
    return write(
        root,
        {
            "proc/pressure/cpu": f"some avg10={pressure} avg60=0.00 avg300=0.00 total=1\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": f"{governor}\n",
        },
    )


def cores(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    allowed = [frozenset({cpu}) for cpu in range(count)]
    monkeypatch.setattr("raytune_edge.devices.cores.allowed_cores", lambda: allowed)


def test_a_quiet_host_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cores(monkeypatch, 4)
    (finding,) = cpu_findings(host(tmp_path))
    assert finding.level == "ok"
    assert "4 cores; CPU 3 is kept" in finding.what


def test_one_core_pressure_and_a_governor_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cores(monkeypatch, 1)
    findings = list(cpu_findings(host(tmp_path, pressure=43.2, governor="powersave")))
    assert [finding.level for finding in findings] == ["warn"] * 3
    told = " ".join(finding.what for finding in findings)
    assert "one core only" in told
    assert "43 %" in told
    assert "'powersave'" in told
    assert "governor" not in findings[0].mend
    assert "cpupower frequency-set -g performance" in findings[2].mend


def test_a_kernel_without_pressure_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cores(monkeypatch, 2)
    assert "psi=1" in list(cpu_findings(tmp_path))[-1].mend
