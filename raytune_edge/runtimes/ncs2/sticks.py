"""Neural Compute Sticks as the kernel tells of them, without opening one.

A stick shows as one USB device while it waits for firmware (03e7:2485, always at USB 2's speed) and
as another one once it runs it (03e7:f63b, on USB 3's bus if both socket and cable have one). What
stays the same is the socket that it is plugged into.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from raytune_edge.runtimes.locks import holders
from raytune_edge.runtimes.users import owner_of, runs_processes, user_name

__all__ = [
    "Stick",
    "Trouble",
    "find_sticks",
    "lock_name",
    "mutex_trouble",
    "no_stick",
    "node_trouble",
    "reset",
]

_VENDOR = "03e7"
_BOOTED = {"2485": False, "f63b": True}
_MUTEX = "tmp/mvnc.mutex"
_RULE = "raytune-edge ncs2 install  # it ends with the command that installs the udev rule"
_USBDEVFS_RESET = 0x5514
"""``_IO('U', 20)`` of linux/usbdevice_fs.h."""


class Trouble(NamedTuple):
    """What stands in the way of a stick, and what to do.

    Attributes:
        in_use: Whether nothing is wrong but that another user has the host's sticks.
    """

    what: str
    mend: str
    in_use: bool = False

    def __str__(self) -> str:
        return f"{self.what}; {self.mend}"


@dataclass(frozen=True, kw_only=True)
class Stick:
    """A stick as it shows now.

    Attributes:
        socket: Names the USB socket, such as ``"1-3"``; the same before and after booting.
        folders: Where in sysfs it may show: two where the socket is a port on USB 2 and on USB 3.
        booted: Whether it runs a firmware, that is, some process has or had it.
        speed_mbps: Of its link as it is now; before booting always 480.
        node: The device file to open it by.
    """

    socket: str
    folders: tuple[Path, ...]
    booted: bool
    speed_mbps: int
    node: Path

    def __str__(self) -> str:
        state = f"booted, USB at {self.speed_mbps} Mbit/s" if self.booted else "not booted"
        return f"Neural Compute Stick 2 at USB {self.socket} ({state})"


def find_sticks(root: Path = Path("/")) -> list[Stick]:
    """The sticks of this host, by socket."""
    found = []
    for device in (root / "sys/bus/usb/devices").glob("*"):
        # A stick may go or boot while it is looked at: then it is not there now.
        with contextlib.suppress(OSError, ValueError):
            product = _told(device, "idProduct")
            if _told(device, "idVendor") != _VENDOR or product not in _BOOTED:
                continue
            folders = tuple(device.with_name(name) for name in _names(device))
            found.append(
                Stick(
                    socket=folders[0].name,
                    folders=folders,
                    booted=_BOOTED[product],
                    speed_mbps=int(float(_told(device, "speed"))),
                    node=root
                    / "dev/bus/usb"
                    / f"{int(_told(device, 'busnum')):03}"
                    / f"{int(_told(device, 'devnum')):03}",
                )
            )
    return sorted(found, key=lambda stick: stick.socket)


def _told(device: Path, name: str) -> str:
    return (device / name).read_text().strip()


def _names(device: Path) -> list[str]:
    """Names that a device in this socket may have: a USB 3 socket is a port on two buses."""
    port = device / "port"
    ports = [each.resolve() for each in (port, port / "peer") if each.exists()]
    return sorted(_device_name(each.name) for each in ports) or [device.name]


def _device_name(port: str) -> str:
    """A device in ``usb1-port3`` is called ``1-3``, one in ``1-3-port2`` ``1-3.2``."""
    hub, _, number = port.rpartition("-port")
    return f"{hub[3:]}-{number}" if hub.startswith("usb") else f"{hub}.{number}"


def lock_name(stick: Stick) -> str:
    """Of the lock that says whose it is."""
    return f"stick-{stick.socket}"


def no_stick(*, doctor: str = " and 'raytune-edge doctor --device MYRIAD'") -> Trouble:
    """What to look at where no stick shows.

    Args:
        doctor: What the doctor leaves out of the advice.
    """
    return Trouble(
        f"expected a Neural Compute Stick 2 on {socket.gethostname()}, USB shows none",
        f"look with 'lsusb -d 03e7:' (2485 before it is booted, f63b after){doctor}, and at socket "
        "and cable (USB 3), power, udev rule, and in a virtual machine that both ids are passed "
        "through",
    )


def node_trouble(stick: Stick) -> Trouble | None:
    """Why this user may not open the stick; None if he may."""
    if os.access(stick.node, os.R_OK | os.W_OK):
        return None
    if not stick.node.exists():
        return Trouble(
            f"{stick.node} is missing",
            "in a container: docker run --device-cgroup-rule='c 189:* rmw' -v /dev:/dev "
            "-v /tmp:/tmp --network=host",
        )
    return Trouble(f"{stick.node} is not writable for user {user_name(os.geteuid())!r}", _RULE)


def mutex_trouble(root: Path = Path("/")) -> Trouble | None:
    """Why the plugin would end its process instead of opening a stick; None if it would not.

    The plugin opens one file for all sticks of a host, and calls ``exit(1)`` if it cannot.
    """
    path = root / _MUTEX
    if not path.exists():
        return None
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT, 0o660))  # word for word what it does
    except OSError as error:
        return _foreign_mutex(path, error.strerror or "", root)
    return None


def _foreign_mutex(path: Path, why: str, root: Path) -> Trouble:
    number, owner = path.stat().st_uid, owner_of(path)
    what = (
        f"{path} cannot be opened ({why}), it belongs to user {owner!r}: the sticks of a host "
        "serve one user at a time"
    )
    remove = f"sudo rm {path}"
    if number == os.geteuid() or not _has_sticks(number, path, root):
        return Trouble(f"{what}; it is left over, as far as can be seen", remove)
    return Trouble(
        f"{what}, and that one has them now",
        f"sudo -u {shlex.quote(owner)} raytune-edge doctor  # asks as that user; to have the "
        "sticks yourself, end that user's programs (sudo systemctl stop raytune-edge-ncs, if it "
        f"is the service) and only then: {remove}",
        in_use=True,
    )


def _has_sticks(number: int, mutex: Path, root: Path) -> bool:
    """Whether that user's programs seem to use sticks: root always runs some, and most don't."""
    booted = any(stick.booted for stick in find_sticks(root))
    return bool(holders(mutex)) or (booted and runs_processes(number))


def reset(stick: Stick) -> None:
    """Reset the stick's USB port, so that it waits for firmware again; whoever has it loses it.

    Raises:
        OSError: If that isn't permitted.
    """
    descriptor = os.open(stick.node, os.O_WRONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _USBDEVFS_RESET, 0)
    finally:
        os.close(descriptor)
