"""Locks of this host for what only one process may use: a core, a stick.

The kernel releases a lock when the last process that holds it is gone, however it ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from raytune_edge.errors import NoDeviceError
from raytune_edge.runtimes.users import owner_of

__all__ = ["Lock", "holders", "take"]


_FOR_ALL = 0o644
"""Whoever can read a file can lock it."""


class Lock:
    """A lock that is held; a child that inherits ``descriptor`` holds it as well."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def release(self) -> None:
        """Let it go, as far as this process is concerned. May be called again."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def lock_file(name: str, root: Path) -> Path:
    """The file of the lock called ``name``; all users of a host share it."""
    return root / "tmp" / f"raytune_edge-{name}.lock"


def take(name: str, root: Path = Path("/")) -> Lock | None:
    """Take the lock called ``name``; None if somebody holds it.

    Raises:
        NoDeviceError: If its file cannot be made or opened, such as where another user made it and
            lets nobody open it.
    """
    path = lock_file(name, root)
    try:
        descriptor = _open(path)
    except OSError as error:
        raise NoDeviceError(_denied(path, error)) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return Lock(descriptor)


def _open(path: Path) -> int:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        # Not in one step: the kernel may forbid O_CREAT for a file in /tmp that another user made.
        descriptor = os.open(path, flags | os.O_CREAT, _FOR_ALL)
    # The umask may have made it this user's alone. Another user's file can only be left as it is.
    with contextlib.suppress(PermissionError):
        os.fchmod(descriptor, _FOR_ALL)
    return descriptor


def _denied(path: Path, error: OSError) -> str:
    if not isinstance(error, PermissionError):
        return f"the lock {path} cannot be used ({error.strerror}); look at it with ls -l {path}"
    if not os.path.lexists(path):
        return f"the lock {path} cannot be made ({error.strerror}); sudo chmod 1777 {path.parent}"
    return (
        f"the lock {path} cannot be opened ({error.strerror}), it belongs to user "
        f"{owner_of(path)!r}; let all users of this host take it: sudo chmod 644 {path}"
    )


def holders(path: Path) -> list[int]:
    """Processes that have the file at ``path`` open, of those that this user may look into."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(os.readlink(each) == str(path) for each in (process / "fd").iterdir()):
                found.append(int(process.name))
    return sorted(found)
