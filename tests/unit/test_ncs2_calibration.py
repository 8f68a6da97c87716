"""Calibration on made-up truths."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from raytune_edge.errors import CalibrationError
from raytune_edge.ncs2.calibration import calibrate
from raytune_edge.runtimes.ncs2.compiler import CompileReport


def truth(report: CompileReport) -> float:
    """Milliseconds of a stick that never was."""
    assert report.predicted_hw_ms is not None
    assert report.software_stages is not None
    assert report.copy_stages is not None
    software, copies = 0.2 * report.software_stages, 0.05 * report.copy_stages
    return 1.5 + 1.3 * report.predicted_hw_ms + software + copies


def made_up(models: int, noise: float = 0.0, seed: int = 0) -> list[tuple[CompileReport, Any]]:
    random = np.random.default_rng(seed)
    records = []
    for number in range(models):
        report = CompileReport(
            ok=True,
            predicted_hw_ms=float(random.uniform(0.5, 60)),
            software_stages=int(random.integers(0, 60)),
            copy_stages=int(random.integers(0, 80)),
        )
        records.append((report, taken(truth(report) * (1 + random.normal(0, noise)), number)))
    return records


def taken(ms: float, number: int, device: str = "MYRIAD") -> Any:
    return SimpleNamespace(
        latency_p50_ms=ms, signature=f"s{number}", model_sha256="", device=device
    )


def test_a_truth_without_noise_is_found() -> None:
    fitted = calibrate(made_up(12))
    assert fitted.models == 12
    assert fitted.constant_ms == pytest.approx(1.5, rel=1e-3)
    assert fitted.scale == pytest.approx(1.3, rel=1e-3)
    assert fitted.software_ms == pytest.approx(0.2, rel=1e-3)
    assert fitted.copy_ms == pytest.approx(0.05, rel=1e-3)
    assert fitted.error_p90 < 1e-3


def test_the_error_it_tells_is_that_on_networks_to_come() -> None:
    fitted = calibrate(made_up(40, noise=0.1))
    # Half of a normal's mass is within 0.674 sigma, nine tenths within 1.645.
    assert fitted.error_p50 == pytest.approx(0.0674, rel=0.35)
    assert fitted.error_p90 == pytest.approx(0.1645, rel=0.35)
    new = [report for report, _ in made_up(200, seed=1)]
    apart = [abs(fitted.predict_ms(report) / truth(report) - 1) for report in new]
    assert np.median(apart) < 0.05
    assert "40 models" in str(fitted)


def test_a_few_networks_that_went_wrong_do_not_bend_it() -> None:
    records = made_up(30, noise=0.02)
    for place in (3, 11, 20):
        report, measurement = records[place]
        records[place] = (report, taken(4 * measurement.latency_p50_ms, place))
    fitted = calibrate(records)
    new = [report for report, _ in made_up(200, seed=1)]
    assert np.median([abs(fitted.predict_ms(each) / truth(each) - 1) for each in new]) < 0.05


def test_no_part_is_negative() -> None:
    records = [(report, taken(30 - 0.2 * (report.copy_stages or 0), number))
               for number, (report, _) in enumerate(made_up(20))]  # fmt: skip
    fitted = calibrate(records)
    assert min(fitted.constant_ms, fitted.scale, fitted.software_ms, fitted.copy_ms) >= 0


def test_fewer_than_ten_networks_are_refused_however_often_measured() -> None:
    with pytest.raises(CalibrationError, match="at least 10 different networks, got 9;"):
        calibrate(made_up(9) * 3)
    assert calibrate(made_up(10) * 3).models == 10


def test_other_devices_and_refused_networks_are_refused() -> None:
    report, _ = made_up(1)[0]
    with pytest.raises(CalibrationError, match=r"of a stick \(MYRIAD\), got one of 'CPU'"):
        calibrate([*made_up(12), (report, taken(1.0, 99, device="CPU"))])
    refused = CompileReport(ok=False, reason="unsupported layer type 'GridSample'")
    with pytest.raises(CalibrationError, match="GridSample"):
        calibrate([*made_up(12), (refused, taken(1.0, 99))])
    with pytest.raises(ValueError, match="GridSample"):
        calibrate(made_up(12)).predict_ms(refused)
