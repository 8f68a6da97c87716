"""Sticks of hosts that are made up: what the kernel tells of them, and what stands in their way."""

import os
from pathlib import Path

import pytest

from raytune_edge.runtimes.ncs2 import sticks
from raytune_edge.runtimes.ncs2.sticks import find_sticks, mutex_trouble, node_trouble
from raytune_edge.runtimes.users import owner_of, runs_processes, user_name

USB = "sys/bus/usb/devices"


def plug_in(root: Path, name: str, product: str = "2485", speed: str = "480", **more: str) -> Path:
    """Let a USB device show under the kernel's ``name`` for it."""
    device = root / USB / name
    device.mkdir(parents=True)
    told = {"idVendor": "03e7", "idProduct": product, "speed": speed, "busnum": name[0]}
    for file, text in ({**told, "devnum": "7", **more}).items():
        (device / file).write_text(text + "\n")
    node = root / f"dev/bus/usb/00{name[0]}/007"
    node.parent.mkdir(parents=True, exist_ok=True)
    node.touch()
    return device


def socket(device: Path, port: str, peer: str | None = None) -> None:
    """Say in which port of which hub a device is, and which port is its socket's other side."""
    ports = device.parents[3] / "ports"
    (ports / port).mkdir(parents=True)
    (device / "port").symlink_to(ports / port)
    if peer is not None:
        (ports / peer).mkdir()
        (ports / port / "peer").symlink_to(ports / peer)


def test_a_stick_is_told_by_its_ids_booted_or_not(tmp_path: Path) -> None:
    plug_in(tmp_path, "1-3")
    plug_in(tmp_path, "2-1.4", product="f63b", speed="5000")
    waiting, booted = find_sticks(tmp_path)
    assert (waiting.socket, waiting.booted, waiting.speed_mbps) == ("1-3", False, 480)
    assert (booted.socket, booted.booted, booted.speed_mbps) == ("2-1.4", True, 5000)
    assert waiting.node == tmp_path / "dev/bus/usb/001/007"
    assert str(booted) == "Neural Compute Stick 2 at USB 2-1.4 (booted, USB at 5000 Mbit/s)"


@pytest.mark.parametrize(
    "told", [{"idVendor": "1d6b"}, {"product": "2150"}, {"busnum": "not a number"}]
)
def test_what_is_no_stick_is_not_told(tmp_path: Path, told: dict[str, str]) -> None:
    plug_in(tmp_path, "1-3", **told)
    assert find_sticks(tmp_path) == []


def test_a_device_that_goes_while_it_is_looked_at_is_not_there(tmp_path: Path) -> None:
    (plug_in(tmp_path, "1-3") / "speed").unlink()
    assert find_sticks(tmp_path) == []


def test_a_device_that_boots_while_it_is_looked_at_is_told_as_it_was_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plug_in(tmp_path, "1-3")
    read = sticks._told

    def read_once(device: Path, name: str) -> str:
        text = read(device, name)
        (device / name).write_text("")
        return text

    monkeypatch.setattr(sticks, "_told", read_once)
    assert [stick.booted for stick in find_sticks(tmp_path)] == [False]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("1-3", "usb1-port3", "usb2-port1"), ("2-1", "usb2-port1", "usb1-port3")),
        (("1-3.2", "1-3-port2", "2-1-port2"), ("2-1.2", "2-1-port2", "1-3-port2")),
        (("1-3.2.4", "1-3.2-port4", None), ("1-3.2.4", "1-3.2-port4", None)),
    ],
)
def test_a_stick_has_one_name_before_and_after_it_moved_to_the_other_bus(
    tmp_path: Path,
    before: tuple[str, str, str | None],
    after: tuple[str, str, str | None],
) -> None:
    found = []
    for number, (name, port, peer) in enumerate((before, after)):
        root = tmp_path / str(number)
        socket(plug_in(root, name), port, peer)
        found += find_sticks(root)
    assert len({stick.socket for stick in found}) == 1
    assert {folder.name for folder in found[0].folders} == {before[0], after[0]}
    assert [each.name for each in found[0].folders] == [each.name for each in found[1].folders]


def test_a_node_that_is_not_writable_is_told_with_the_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plug_in(tmp_path, "1-3")
    (stick,) = find_sticks(tmp_path)
    assert node_trouble(stick) is None
    monkeypatch.setattr(sticks.os, "access", lambda path, mode: False)
    trouble = node_trouble(stick)
    assert trouble is not None
    assert "is not writable for user" in trouble.what
    assert trouble.mend.startswith("raytune-edge ncs2 install")
    stick.node.unlink()
    trouble = node_trouble(stick)
    assert trouble is not None
    assert "--device-cgroup-rule" in trouble.mend


def test_a_mutex_that_can_be_opened_is_no_trouble(tmp_path: Path) -> None:
    assert mutex_trouble(tmp_path) is None
    mutex = tmp_path / "tmp/mvnc.mutex"
    mutex.parent.mkdir()
    mutex.touch()
    assert mutex_trouble(tmp_path) is None


@pytest.mark.parametrize(
    ("runs", "product", "held", "in_use"),
    [
        (True, "f63b", False, True),
        (True, "2485", False, False),  # root always runs something, and has no stick
        (False, "f63b", False, False),
        (True, "2485", True, True),
    ],
)
def test_a_mutex_of_another_user_is_told_with_the_owner(
    tmp_path: Path,
    runs: bool,
    product: str,
    held: bool,
    in_use: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plug_in(tmp_path, "1-3", product)
    mutex = tmp_path / "tmp/mvnc.mutex"
    mutex.mkdir(parents=True)  # what no user may open, root included
    owner = owner_of(mutex)
    monkeypatch.setattr(sticks.os, "geteuid", lambda: 54321)
    monkeypatch.setattr(sticks, "runs_processes", lambda number: runs)
    opened = os.open(mutex, os.O_RDONLY) if held else None
    trouble = mutex_trouble(tmp_path)
    if opened is not None:
        os.close(opened)
    assert trouble is not None
    assert trouble.in_use == in_use
    assert (
        f"belongs to user {owner!r}: the sticks of a host serve one user at a time" in trouble.what
    )
    if in_use:  # deleting it would take the sticks from a process that has them
        assert trouble.mend.startswith(f"sudo -u {owner} raytune-edge doctor")
        assert "systemctl stop raytune-edge-ncs" in trouble.mend
    else:
        assert trouble.mend == f"sudo rm {mutex}"


def test_who_runs_processes_is_known() -> None:
    assert runs_processes(os.getuid())
    assert not runs_processes(54321)
    assert user_name(54321) == "#54321"
