"""A finished run under other limits."""

import math

import pandas as pd
import pytest

from raytune_edge.analysis import replay
from raytune_edge.objective import Objective

RUN = pd.DataFrame(
    [
        ("slow", "done", 0.99, 1.0, ""),
        ("good", "done", 0.97, 0.6, ""),
        ("worse", "done", 0.96, 0.7, ""),
        ("fast", "done", 0.90, 0.2, ""),
        ("gated", "infeasible", 0.50, 1.5, "latency_p50_ms 1.5 ms is over the limit of 1.2 ms"),
        ("dead", "collapsed", 0.10, 0.1, "top-1 0.1 is chance level"),
        ("broken", "failed", math.nan, math.nan, "DeviceError: gone"),
        ("unmeasured", "done", 0.9, math.nan, ""),
    ],
    columns=["trial_id", "status", "top1", "latency_p50_ms", "reason"],
)
FRONT = Objective(maximize="top1", minimize="latency_p50_ms")


def of(frame: pd.DataFrame, trial_id: str) -> pd.Series:
    return frame.set_index("trial_id").loc[trial_id]


def test_another_budget_has_another_best_network() -> None:
    for budget, best in ((2.0, "slow"), (0.65, "good"), (0.3, "fast")):
        again = replay(RUN, objective=Objective(maximize="top1", latency_budget_ms=budget))
        assert again["trial_id"].iloc[0] == best
        assert again.loc[again["best"], "trial_id"].tolist() == [best]
        judged = again[again["status"] == "done"].dropna(subset="latency_p50_ms")
        assert (judged["feasible"] == (judged["latency_p50_ms"] <= budget)).all()


def test_a_floor_instead_of_a_budget() -> None:
    again = replay(RUN, objective=Objective(minimize="latency_p50_ms", top1_floor=0.965))
    assert again["trial_id"].tolist()[:2] == ["good", "slow"]
    assert of(again, "fast")["reason"] == "top1 0.9 fraction is under the limit of 0.965 fraction"


def test_several_goals_have_a_front_and_its_members_come_first() -> None:
    again = replay(RUN, objective=FRONT)
    front = {"slow", "good", "fast"}
    assert set(again.loc[again["best"], "trial_id"]) == front
    assert set(again["trial_id"].iloc[:3]) == front
    assert again["trial_id"].iloc[3] == "worse"


def test_what_was_not_retrained_is_not_feasible_but_may_be_worth_it() -> None:
    gated = of(replay(RUN, objective=FRONT), "gated")
    assert (gated["feasible"], gated["reason"]) == (False, "within the limits, but not retrained")
    still = replay(RUN, objective=Objective(maximize="top1", latency_budget_ms=1.4))
    assert "over the limit of 1.4 ms" in of(still, "gated")["reason"]


def test_an_infeasible_network_that_was_retrained_all_the_same_is_judged_as_any() -> None:
    """As with ``gate="off"``, where the latency is known at last."""
    run = RUN.assign(test_top1=math.nan)
    run.loc[run["trial_id"] == "gated", ["top1", "test_top1"]] = 0.995
    again = replay(run, objective=Objective(maximize="top1", latency_budget_ms=2.0))
    best = again.iloc[0]
    assert (best["trial_id"], best["feasible"], best["score"]) == ("gated", True, 0.995)
    floor = replay(run, objective=Objective(maximize="top1", top1_floor=0.999))
    assert "top1 0.995 fraction is under" in of(floor, "gated")["reason"]


@pytest.mark.parametrize(
    ("trial_id", "reason"),
    [
        ("dead", "top-1 0.1 is chance level"),
        ("broken", "DeviceError: gone"),
        ("unmeasured", "latency_p50_ms is not known"),
    ],
)
def test_what_says_nothing_comes_last(trial_id: str, reason: str) -> None:
    again = replay(RUN, objective=FRONT)
    row = of(again, trial_id)
    assert (row["feasible"], row["best"], row["reason"]) == (False, False, reason)
    assert trial_id in set(again["trial_id"].iloc[4:])
    assert again["score"].map(math.isfinite).all()


def test_the_results_stay_as_they_are_and_none_are_fine() -> None:
    before = RUN.copy()
    replay(RUN, objective=FRONT)
    pd.testing.assert_frame_equal(RUN, before)
    assert replay(RUN.iloc[:0], objective=FRONT).empty
