"""Whether a bundle is what it says, on this machine."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

from raytune_edge.analysis.bundle import STICK_XML, agreement, check_files
from raytune_edge.config import Timing
from raytune_edge.devices.by_hand import instrument_for
from raytune_edge.errors import BundleError, DeviceError, UnsupportedModelError
from raytune_edge.records import Measurement, within_noise
from raytune_edge.runtimes.ir import Agreement

__all__ = ["Verified", "verify_bundle"]


@dataclass(frozen=True, kw_only=True)
class Verified:
    """A bundle whose files and outputs are right; what was measured is for the reader to judge.

    Attributes:
        files: How many files were checked.
        outputs: How far OpenVINO's network is from the ONNX file.
        before: The bundle's own measurement.
        after: That of now; None if it was not asked for or the device is not here.
        why_not: Why ``after`` is None.
    """

    files: int
    outputs: Agreement
    before: Measurement
    after: Measurement | None = None
    why_not: str = ""

    def __str__(self) -> str:
        lines = [
            f"{self.files} files are those that were written",
            f"ONNX and OpenVINO agree: outputs differ by at most {self.outputs.difference:.2g}, "
            f"the largest is {self.outputs.largest:.3g}",
        ]
        before, after = self.before, self.after
        told = f"latency p50 {before.latency_p50_ms:.3f} ms on {before.device_name}"
        if after is None:
            return "\n".join([*lines, f"{told}; not measured again: {self.why_not}"])
        if after.device_name != before.device_name:
            verdict = "another device"
        else:
            verdict = "the same within noise" if within_noise(before, after) else "NOT the same"
        now = f"{after.latency_p50_ms:.3f} ms now on {after.device_name}: {verdict}"
        return "\n".join([*lines, f"{told}; {now}", *after.flags])


def verify_bundle(
    path: str | os.PathLike[str], *, timing: Timing | None = None, measure: bool = True
) -> Verified:
    """Check each file's hash and the networks' agreement, and measure again.

    Args:
        path: A folder of `export_bundle`.
        timing: How to measure; by default with as many threads and in the precision of then.
        measure: Whether to measure again, on a device of the same kind of this machine.

    Raises:
        BundleError: If a file is missing or changed, which it names, or it is no bundle.
        ParityError: If OpenVINO's network gives other outputs than the ONNX file.
        UnsupportedModelError: If the device's runtime refuses the model now.
    """
    folder = Path(path)
    manifest = check_files(folder)
    if "ir_precision" not in manifest:
        raise BundleError(
            f"{folder} has the files of a trial, unchanged, but is no bundle: rte.export_bundle() "
            "makes one, from the trial's row or result"
        )
    outputs = agreement(folder, manifest["ir_precision"])
    if STICK_XML in manifest["sha256"]:
        agreement(folder, "f16", STICK_XML)
    before = Measurement.from_dict(json.loads((folder / "measurement.json").read_text()))
    after, why_not = None, "not asked for"
    if measure:
        try:
            onnx_bytes = (folder / "model.onnx").read_bytes()
            after = _measure(onnx_bytes, before.device, timing or _as_then(before))
        except UnsupportedModelError:
            raise
        except DeviceError as error:
            why_not = str(error)
    return Verified(
        files=len(manifest["sha256"]), outputs=outputs, before=before, after=after, why_not=why_not
    )


def _measure(onnx_bytes: bytes, device: str, timing: Timing) -> Measurement:
    with instrument_for(device, threads=timing.threads) as (instrument, doubt):
        made = instrument.measure(onnx_bytes, timing)
    return dataclasses.replace(made, flags=(*made.flags, doubt)) if doubt else made


def _as_then(before: Measurement) -> Timing:
    precision = None if before.precision == "unknown" else before.precision
    return Timing(threads=max(before.threads, 1), precision=precision)
