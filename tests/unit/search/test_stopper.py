"""Which trials are ended: those that a finished network beats whatever they may still learn."""

import math
from typing import Any

import cloudpickle
import pytest

from raytune_edge.objective import Objective
from raytune_edge.search.stopper import FrontStopper

FRONT = Objective(maximize="top1", minimize="latency_p50_ms")


def report(stage: str, epoch: int, top1: float, ms: float, half: float = 0.0) -> dict[str, Any]:
    interval = {"latency_p50_low_ms": ms - half, "latency_p50_high_ms": ms + half}
    return {
        "stage": stage, "epoch": epoch, "top1": top1, "latency_p50_ms": ms, **interval
    }  # fmt: skip


def after_five(objective: Objective, ms: float = 1.0) -> FrontStopper:
    """Five finished networks: each halved its error from epoch 1 to 2, one had 0.9 top-1."""
    stopper = FrontStopper(objective)
    for number, left in enumerate((0.8, 0.6, 0.4, 0.3, 0.2)):
        assert not stopper(str(number), report("retrain", 1, 1 - left, ms))
        assert not stopper(str(number), report("retrain", 2, 1 - left / 2, ms))
        assert not stopper(str(number), report("done", 2, 1 - left / 2, ms))
    return stopper


@pytest.mark.parametrize(
    ("top1", "ms", "ended"),
    [
        (0.70, 2.0, True),  # at best 0.85, and twice as slow as the one with 0.9
        (0.85, 2.0, False),  # at best 0.925
        (0.70, 0.5, False),  # faster
        (0.70, 1.04, False),  # slower, but not beyond noise
        (0.70, 1.06, True),
        (0.70, math.nan, False),  # not measured yet
    ],
)
def test_ended_if_slower_and_beyond_catching_up(top1: float, ms: float, ended: bool) -> None:
    stopper = after_five(FRONT)
    assert stopper("new", report("retrain", 1, top1, ms)) is ended
    assert ("new" in stopper.stopped) is ended


def test_wide_intervals_are_noise() -> None:
    assert not after_five(FRONT)("new", report("retrain", 1, 0.7, 1.5, half=0.6))
    assert after_five(FRONT)("new", report("retrain", 1, 0.7, 1.5, half=0.4))


def test_none_is_ended_before_five_have_finished() -> None:
    stopper = FrontStopper(FRONT)
    for number in range(4):
        stopper(str(number), report("retrain", 1, 0.9, 1.0))
        stopper(str(number), report("done", 1, 0.9, 1.0))
    assert not stopper("new", report("retrain", 1, 0.1, 9.0))


def test_one_goal_has_the_best_network_to_catch_up_with() -> None:
    objective = Objective(maximize="top1", latency_budget_ms=3.0)
    assert after_five(objective)("new", report("retrain", 1, 0.7, 0.1))
    assert not after_five(objective)("new", report("retrain", 1, 0.85, 2.0))


def test_a_floor_that_can_not_be_reached_ends_a_trial() -> None:
    objective = Objective(minimize="latency_p50_ms", top1_floor=0.88)
    stopper = after_five(objective)
    assert stopper("new", report("retrain", 1, 0.7, 0.1))
    assert "top1" in stopper.stopped["new"]
    assert not stopper("other", report("retrain", 1, 0.8, 0.1))
    assert stopper("slow", report("retrain", 1, 0.8, 1.2))  # slower than one above the floor


def test_infeasible_and_unfinished_networks_beat_nobody() -> None:
    objective = Objective(maximize="top1", minimize="latency_p50_ms", latency_budget_ms=0.9)
    stopper = after_five(objective)  # all over the budget
    assert not stopper("new", report("retrain", 1, 0.7, 0.8))
    stopper = FrontStopper(FRONT)
    for number in range(5):
        stopper(str(number), report("retrain", 1, 0.9, 1.0))
        stopper(str(number), report("collapsed", 1, 0.9, 1.0))
    assert not stopper("new", report("retrain", 1, 0.1, 9.0))


def test_a_last_report_that_is_repeated_is_learnt_once() -> None:
    """Tune calls a stopper again with the last report when the trial's function returns."""
    stopper = FrontStopper(FRONT)
    for _ in range(2):
        for number, stage in enumerate(("done", "infeasible", "collapsed", "unsupported")):
            stopper(str(number), report(stage, 1, 0.5, 1.0))
    curves = stopper._curves["top1"]
    assert curves._under_way == {}
    assert len(curves._finished) == 1


def test_an_infeasible_network_that_was_retrained_teaches_its_curve() -> None:
    objective = Objective(maximize="top1", latency_budget_ms=0.5)
    stopper = FrontStopper(objective)
    for number in range(5):
        stopper(str(number), report("retrain", 1, 0.5, 1.0))
        stopper(str(number), {**report("infeasible", 2, 0.6, 1.0), "test_top1": 0.6})
    assert stopper._curves["top1"].outlook("new") is None
    stopper("new", report("retrain", 1, 0.5, 0.4))
    assert stopper._curves["top1"].outlook("new") == pytest.approx((0.6, 0.6))


def test_only_retraining_is_ended_and_never_the_experiment() -> None:
    stopper = after_five(FRONT)
    for stage in ("pruned", "done", "infeasible", "collapsed"):
        assert not stopper("new", report(stage, 1, 0.1, 9.0))
    assert not stopper.stop_all()


def test_it_goes_on_after_a_restart() -> None:
    stopper = cloudpickle.loads(cloudpickle.dumps(after_five(FRONT)))
    assert stopper("new", report("retrain", 1, 0.7, 2.0))
