"""The ladder on trouble: what to do after how many failures in succession."""

from __future__ import annotations

from dataclasses import dataclass

from raytune_edge.errors import NoDeviceError

__all__ = ["Health", "Step"]

_BACK_OFF_S = (0.0, 1.0, 4.0)
_LONGEST_QUARANTINE_S = 900.0


@dataclass(frozen=True, kw_only=True)
class Step:
    """What happens before a device is tried again.

    Attributes:
        pause_s: How long it is left alone.
        reopen: Whether its actor is ended and started afresh, not its child alone.
        quarantine: Whether it is told as out of service meanwhile.
    """

    pause_s: float
    reopen: bool
    quarantine: bool


class Health:
    """Counts failures in succession and says what each calls for.

    The first one: a fresh child at once. The second and third: a fresh actor too, after 1 s and
    4 s. From the fourth on: quarantine for ``quarantine_s``, twice as long each time it fails
    again, at most 15 minutes. A device that isn't there goes into quarantine at once.

    Either the device or the model may be at fault. So a device that measures its reference model
    after a failure begins anew, but the requests that went wrong on it still count, once each,
    until it has answered one: a bad model costs no device its place, and a device on which one
    model after the other goes wrong loses it.
    """

    def __init__(self, *, quarantine_s: float) -> None:
        self._quarantine_s = quarantine_s
        self._failures = 0
        self._requests: set[int] = set()

    def proved(self) -> None:
        """The device has answered a request: what was before doesn't count any more."""
        self._failures = 0
        self._requests.clear()

    def passed(self) -> None:
        """The device has measured its reference model, which says little about other models."""
        self._failures = 0

    def suspect(self, request: int) -> None:
        """A request has gone wrong here and on no other device; `failed` follows."""
        self._requests.add(request)

    def failed(self, error: Exception) -> Step:
        """The next step on the ladder, after one more failure."""
        self._failures = max(self._failures + 1, len(self._requests))
        if isinstance(error, NoDeviceError):
            self._failures = max(self._failures, len(_BACK_OFF_S) + 1)
        if self._failures <= len(_BACK_OFF_S):
            pause_s = _BACK_OFF_S[self._failures - 1]
            return Step(pause_s=pause_s, reopen=self._failures > 1, quarantine=False)
        doublings = self._failures - len(_BACK_OFF_S) - 1
        pause_s = min(self._quarantine_s * 2.0 ** min(doublings, 30), _LONGEST_QUARANTINE_S)
        return Step(pause_s=pause_s, reopen=True, quarantine=True)
