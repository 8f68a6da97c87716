"""Users of this host, as messages name them."""

from __future__ import annotations

import contextlib
import os
import pwd
from pathlib import Path

__all__ = ["owner_of", "runs_processes", "user_name"]


def user_name(number: int) -> str:
    """The name of a user, as commands take it: ``"ada"``, or ``"#1000"`` without one."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"#{number}"


def owner_of(path: Path) -> str:
    """The name of the user whose file ``path`` is."""
    return user_name(path.lstat().st_uid)


def runs_processes(number: int) -> bool:
    """Whether any process of this host is that user's."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may have ended
            if os.stat(process).st_uid == number:
                return True
    return False
