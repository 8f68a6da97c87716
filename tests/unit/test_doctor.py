"""What the doctor finds on hosts that are made up."""

from pathlib import Path

import pytest

from raytune_edge import doctor
from raytune_edge.doctor import cpu_findings, unseen_hardware


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
    assert "apt install intel-opencl-icd" in finding.mend


def test_a_graphics_unit_that_is_not_allowed_is_told_with_the_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
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


@pytest.mark.parametrize(("product", "state"), [("2485", "not booted"), ("f63b", "booted")])
def test_a_stick_is_told_with_the_runtime_that_serves_it(
    tmp_path: Path, product: str, state: str
) -> None:
    usb = "sys/bus/usb/devices/1-2"
    root = write(tmp_path, {f"{usb}/idVendor": "03e7\n", f"{usb}/idProduct": f"{product}\n"})
    (finding,) = unseen_hardware({"CPU": ""}, root)
    assert "1-2" in finding.what
    assert f"({state})" in finding.what
    assert "openvino==2021.4.2" in finding.mend


def test_other_usb_devices_are_not_told(tmp_path: Path) -> None:
    usb = "sys/bus/usb/devices/1-2"
    root = write(tmp_path, {f"{usb}/idVendor": "1d6b\n", f"{usb}/idProduct": "2485\n"})
    assert list(unseen_hardware({}, root)) == []


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
