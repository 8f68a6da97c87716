"""A trial's two measurements: one while the network is retrained, one of what came out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from raytune_edge.devices import Pending
from raytune_edge.records import Measurement, disagree
from raytune_edge.reporting import Report

__all__ = ["FirstMeasurement", "last_measurement"]


class FirstMeasurement:
    """The measurement that runs while the network is retrained.

    Attributes:
        measurement: None until the device has answered, and where none was asked for.
    """

    def __init__(self, request: Pending | None, report: Report) -> None:
        self._request = request
        self._report = report
        self.measurement: Measurement | None = None

    def misses(self) -> bool:
        """Whether the network is known to miss a limit by its shape. Never waits.

        Raises:
            UnsupportedModelError: If no device can run the network.
            DeviceError: If the pool gave up.
        """
        if self.measurement is None and self._request is not None and self._request.done():
            self.wait()
        return bool(self._report.limit_missed())

    def wait(self) -> None:
        """Wait for the answer, if one was asked for. Raises what `misses` raises."""
        if self.measurement is None and self._request is not None:
            self.measurement = self._request.result()
            self._report.add_measurement(self.measurement)


def last_measurement(
    request: Pending,
    ask_again: Callable[[], Pending],
    report: Report,
    first: Measurement | None,
) -> Measurement:
    """Wait for the retrained network's measurement, and hold it against the ``first`` one.

    Retraining leaves the shape as it was, so a latency of the same device that differs by more than
    their joint noise is measured once more, and flagged if it stays so: in the report, and in the
    record.
    """

    def answer(request: Pending) -> Measurement:
        measurement = request.result()
        report.add_measurement(measurement)
        return measurement

    last = answer(request)
    if first is None or not disagree(first, last):
        return last
    last = answer(ask_again())
    if not disagree(first, last):
        return last
    doubt = (
        f"p50 {first.latency_p50_ms:.4g} ms before retraining, "
        f"{last.latency_p50_ms:.4g} ms after: the same shape should agree"
    )
    report.flag(doubt)
    return dataclasses.replace(last, flags=(*last.flags, doubt))
