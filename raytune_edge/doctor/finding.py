"""One thing that the doctor looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: ``"fail"`` if a device that is there, or that was asked for, cannot measure like
            this, ``"warn"`` if figures or comfort suffer.
        what: What was found.
        mend: The command that mends it; "" if there is nothing to mend.
    """

    level: Literal["ok", "warn", "fail"]
    what: str
    mend: str = ""
