"""The arithmetic of ``benchmarks/search.py`` on tables small enough to do by hand."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import _replay
import pytest
from ray.tune.search import Searcher

from raytune_edge.objective import Objective

OBJECTIVE = Objective(maximize="top1", minimize="latency_p50_ms", latency_budget_ms=1.0)
SCALE = _replay.Scale(worst_top1=0.5, worst_latency_ms=1.0)


def network(top1: float, latency_ms: float) -> Any:
    """One that learns in two epochs; its two latencies differ by 0.02."""
    return _replay.Network(
        top1=(0.1, top1 / 2, top1), latency_p50_ms=(latency_ms - 0.01, latency_ms + 0.01)
    )


WIDE, MIDDLE, NARROW = network(0.9, 2.0), network(0.8, 0.8), network(0.6, 0.4)
TABLE = _replay.Table(
    dimensions={"a": (0.0, 0.5, 1.0)},
    networks={(0.0,): WIDE, (0.5,): MIDDLE, (1.0,): NARROW},
)


class Script(Searcher):
    """Suggests what it was given, in order, and keeps what it is told."""

    def __init__(self, *levels: float) -> None:
        super().__init__(metric="score", mode="max")
        self._levels = list(levels)
        self.seen: list[str] = []
        self.ended: list[Mapping[str, Any]] = []

    def suggest(self, trial_id: str) -> Any:
        return {"a": self._levels.pop(0)} if self._levels else self.FINISHED

    def on_trial_result(self, trial_id: str, result: Any) -> None:
        self.seen.append(result["stage"])

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        self.ended.append(result)


def replay(script: Script, *, gate: bool = True, budget: int = 100, **more: Any) -> Any:
    return _replay.replay(script, TABLE, OBJECTIVE, gate=gate, budget=budget, **more)


def test_the_gate_ends_a_network_over_its_budget_within_its_first_epoch() -> None:
    script = Script(0.0)
    (ended,) = replay(script)
    assert (ended.stage, ended.spent) == ("infeasible", 1)
    assert script.seen == ["pruned", "infeasible"]
    assert script.ended[0]["top1"] == 0.1
    assert script.ended[0]["latency_p50_ms"] == pytest.approx(1.99)
    assert script.ended[0]["score"] < 0


def test_without_the_gate_it_costs_all_its_epochs() -> None:
    script = Script(0.0)
    (ended,) = replay(script, gate=False)
    assert (ended.stage, ended.spent) == ("infeasible", 2)
    assert script.seen == ["pruned", "retrain", "retrain", "infeasible"]
    assert script.ended[0]["latency_p50_ms"] == pytest.approx(2.01)


def test_only_a_network_trained_to_its_end_is_tested() -> None:
    """As in a real trial, where that tells it from one that the gate ended."""
    for gate, tested in ((True, False), (False, True)):
        script = Script(0.0)
        replay(script, gate=gate)
        assert math.isfinite(script.ended[0]["test_top1"]) is tested


def test_a_network_within_the_budget_costs_its_epochs_either_way() -> None:
    for gate in (True, False):
        script = Script(0.5)
        (ended,) = replay(script, gate=gate)
        assert (ended.stage, ended.spent) == ("done", 2)
        assert script.seen == ["pruned", "retrain", "retrain", "done"]
        assert (script.ended[0]["top1"], script.ended[0]["epoch"]) == (0.8, 2)


def test_the_gate_tells_the_latency_during_retraining() -> None:
    told = [
        [each["latency_p50_ms"] for each in _replay.trial(MIDDLE, OBJECTIVE, gate=gate)]
        for gate in (True, False)
    ]
    assert [math.isfinite(each) for each in told[0]] == [False, True, True, True]
    assert [math.isfinite(each) for each in told[1]] == [False, False, False, True]


def test_epochs_add_up_and_stop_at_the_budget() -> None:
    ended = replay(Script(0.5, 0.0, 0.5, 1.0, 1.0), budget=6)
    assert [each.spent for each in ended] == [2, 3, 5]
    assert [each.stage for each in ended] == ["done", "infeasible", "done"]


def test_a_search_without_another_network_ends() -> None:
    assert [each.spent for each in replay(Script(0.5, 1.0))] == [2, 4]


def test_a_stopped_trial_costs_what_it_trained_and_adds_nothing() -> None:
    script = Script(0.5, 1.0)
    ended = replay(script, stop=lambda trial_id, result: result["top1"] == 0.4)
    assert [(each.stage, each.spent) for each in ended] == [("stopped", 1), ("done", 3)]
    assert script.ended[0]["top1"] == 0.4
    found = _replay.curve(ended, TABLE, SCALE)
    assert found.volume[0] == 0
    assert found.volume[1] > 0


def test_a_finished_trial_is_not_stopped() -> None:
    (ended,) = replay(Script(0.5), stop=lambda trial_id, result: result["stage"] == "done")
    assert ended.stage == "done"


def test_the_volume_is_that_of_finished_networks_within_the_budget() -> None:
    """By hand: 0.3 * 0.2 of MIDDLE, then NARROW's 0.1 * 0.6 with 0.1 * 0.2 in common."""
    ended = replay(Script(0.0, 0.5, 0.5, 1.0))
    found = _replay.curve(ended, TABLE, SCALE)
    whole = 0.06 + 0.06 - 0.02
    assert found.spent == (1, 3, 5, 7)
    assert found.volume == pytest.approx((0, 0.06 / whole, 0.06 / whole, 1))


def test_a_curve_is_read_as_steps() -> None:
    found = _replay.Curve(spent=(1, 3, 7), volume=(0.0, 0.6, 1.0))
    assert [found.at(epochs) for epochs in (0, 1, 2, 3, 6, 7, 9)] == [0, 0, 0, 0.6, 0.6, 1, 1]
    assert [found.epochs_to(volume) for volume in (0.1, 0.6, 0.61, 1.0)] == [3, 3, 7, 7]
    assert found.epochs_to(1.01) == math.inf


def test_medians_count_a_seed_that_never_gets_there_as_the_whole_budget() -> None:
    quick = _replay.Curve(spent=(2, 4), volume=(0.5, 0.9))
    slow = _replay.Curve(spent=(4, 8), volume=(0.2, 0.7))
    never = _replay.Curve(spent=(8,), volume=(0.3,))
    answers = _replay.answers({"original": [quick, slow, never], "ours": [quick]}, 10)
    assert answers["hypervolume_at_equal_epochs"] == {"original": 0.7, "ours": 0.9}
    assert answers["epochs_to_reference"] == {"original": 8, "ours": 4}
    answers = _replay.answers({"original": [quick], "ours": [never, slow, quick]}, 10)
    assert answers["epochs_to_reference"] == {"original": 4, "ours": 10}


def test_the_median_curve_reaches_its_last_height_where_it_first_has_it() -> None:
    curves = [
        _replay.Curve(spent=(2, 6), volume=(0.5, 0.9)),
        _replay.Curve(spent=(4, 8), volume=(0.7, 0.7)),
        _replay.Curve(spent=(3,), volume=(0.3,)),
    ]
    assert _replay.median_reaches(curves, 10) == 6  # 0, 0.3 after 3, 0.5 after 4, 0.7 after 6
    assert _replay.median_reaches(curves, 5) == 4


def test_the_shuffled_table_has_each_network_once_in_an_order_of_its_own() -> None:
    orders = []
    for seed in range(4):
        shuffled = _replay.Shuffled(TABLE, seed)
        orders.append([shuffled.suggest(str(number))["a"] for number in range(3)])
        assert shuffled.suggest("4") == shuffled.FINISHED
        assert sorted(orders[-1]) == [0.0, 0.5, 1.0]
    assert len(set(map(tuple, orders))) > 1


def test_a_config_means_the_nearest_level() -> None:
    assert TABLE.network({"a": 0.49999}) is MIDDLE
    assert TABLE.network({"a": -0.1}) is WIDE
    assert TABLE.unpruned is WIDE


def test_a_missing_table_is_told_with_its_command(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"python benchmarks/search_table\.py"):
        _replay.load(tmp_path / "none.json")


def test_a_table_is_read(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(
        '{"date": "today", "dimensions": {"a": [0, 0.5]}, "networks": ['
        '{"levels": [0.0], "top1": [0.1, 0.9], "latency_p50_ms": [1.0, 1.2]},'
        '{"levels": [0.5], "top1": [0.1, 0.8], "latency_p50_ms": [0.4, 0.5]}]}'
    )
    table, head = _replay.load(path)
    assert head["date"] == "today"
    assert table.unpruned.latency_ms == pytest.approx(1.1)
    assert table.network({"a": 0.5}).top1 == (0.1, 0.8)
