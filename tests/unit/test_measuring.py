"""A trial's two measurements: held against each other only where they should agree."""

import dataclasses
from typing import Any

import pytest

from raytune_edge.config import Recipe
from raytune_edge.measuring import last_measurement
from raytune_edge.records import Measurement
from raytune_edge.reporting import Report
from tests.unit.test_records import measurement


class Answer:
    """A request that is answered."""

    def __init__(self, record: Measurement) -> None:
        self.record = record

    def result(self) -> Measurement:
        return self.record


@pytest.fixture
def report() -> Report:
    return Report(Recipe(task=None))  # type: ignore[arg-type]


def play(report: Report, first: Measurement | None, *answers: Measurement) -> Measurement:
    """Let the devices answer so; all answers must be asked for."""
    left: Any = [Answer(each) for each in answers]
    last = last_measurement(left.pop(0), lambda: left.pop(0), report, first)
    assert not left
    return last


def flags(report: Report) -> str:
    told: str = report.state()["facts"]["flags"]
    return told


@pytest.mark.parametrize("first", [None, measurement(1.02)])
def test_what_agrees_is_taken_as_it_is(report: Report, first: Measurement | None) -> None:
    assert play(report, first, measurement()) == measurement()
    assert flags(report) == ""


def test_what_disagrees_is_measured_again(report: Report) -> None:
    assert play(report, measurement(), measurement(2.0), measurement(1.01)) == measurement(1.01)
    assert flags(report) == ""


def test_what_disagrees_twice_is_flagged_in_the_report_and_in_the_record(report: Report) -> None:
    last = play(report, measurement(), measurement(2.0), measurement(2.1))
    doubt = "p50 1 ms before retraining, 2.1 ms after: the same shape should agree"
    assert last == dataclasses.replace(measurement(2.1), flags=(doubt,))
    assert flags(report) == doubt


def test_figures_of_two_kinds_of_device_are_not_held_against_each_other(report: Report) -> None:
    other = dataclasses.replace(measurement(2.0), device_name="a stick, USB at 480 Mbit/s")
    assert play(report, measurement(), other) == other
    assert flags(report) == ""
