"""What an error of Ray's has to say, in a line."""

from __future__ import annotations

import re

__all__ = ["last_line", "told"]

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_NO_CAUSE = "The actor never ran"
"""Ray may add this below the cause."""

_LONGEST = 300


def last_line(error: BaseException) -> str:
    """The line that names the cause: Ray puts it last, below what the caller knows or a trace.

    >>> last_line(RuntimeError("The actor died.\\n\\tpid: 7\\nIts \\x1b[36mnode\\x1b[39m is gone."))
    'Its node is gone.'
    """
    lines = [line.strip() for line in _COLOUR.sub("", str(error)).splitlines()]
    causes = [line for line in lines if line and not line.startswith(_NO_CAUSE)]
    return causes[-1][:_LONGEST] if causes else type(error).__name__


def told(error: BaseException) -> str:
    """Kind and message; the ``repr`` of an `OSError` would leave its path out."""
    return f"{type(error).__name__}: {error}"
