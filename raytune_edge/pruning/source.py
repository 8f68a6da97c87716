"""Where in the user's own source something happened."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import torch

__all__ = ["user_line"]

_NOT_THE_USERS = (f"{Path(torch.__file__).parent}{os.sep}", f"{Path(__file__).parent}{os.sep}", "<")


def user_line(frames: traceback.StackSummary) -> str:
    """``file:line: code`` of the last frame that is neither torch's nor this package's."""
    for frame in reversed(frames):
        if not frame.filename.startswith(_NOT_THE_USERS):
            return f"{frame.filename}:{frame.lineno}: {frame.line}"
    return "an unknown line"
