"""`benchmarks/RESULTS.md` is what the benchmarks told, and no benchmark is forgotten."""

import json
from pathlib import Path

import pytest
import suite

BENCHMARKS = Path(suite.__file__).parent
NOT_IN_IT = {
    "faulty",  # the child that `faults` spoils
    "search_table",  # hours: made once, `search` replays it
    "stub_stages",  # stages of known length for `chaos`, `overhead` and `pipeline`
    "suite",
}


def test_each_benchmark_is_in_the_suite() -> None:
    scripts = {path.stem for path in BENCHMARKS.glob("[!_]*.py")}
    assert {each.name for each in suite.SUITE} == scripts - NOT_IN_IT


def test_the_results_are_what_the_benchmarks_told() -> None:
    assert suite.RESULTS.read_text() == suite.results(), "python benchmarks/suite.py --write"


def test_a_goal_that_is_missed_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(suite, "KEPT", tmp_path)
    overhead = next(each for each in suite.SUITE if each.name == "overhead")
    assert "was not run yet" in suite.section(overhead)
    machine = {
        "cpu": "Some CPU",
        "cores": 2,
        "load": 0.1,
        "python": "3.11.7",
        "commit": "abc",
        "versions": {"ray": "2.60"},
        "taken_at": "2026-01-01 00:00 UTC",
    }
    lines = ["ours  21.0 ms", json.dumps({"per_trial_ms": 21, "import_ms": 5, "machine": machine})]
    printed, (split_machine, told) = lines[:1], suite.split(lines)
    kept = {"command": "c", "minutes": 1.0, "machine": split_machine, "printed": printed}
    overhead.kept.write_text(json.dumps({**kept, "told": told}))
    section = suite.section(overhead)
    assert "- **not met**: at most 20 ms over a bare trial of Tune" in section
    assert "- met: the import takes at most 50 ms" in section
    assert "ours  21.0 ms" in section
    assert "load 0.1 before, on 2 cores of Some CPU with Python 3.11.7, ray 2.60." in section


def test_a_script_that_fails_keeps_what_was_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(suite, "KEPT", tmp_path)
    wrong = suite.Benchmark(name="pool_cost", title="x", goals={}, arguments=("--no-such-option",))
    wrong.kept.write_text("{}")
    assert not suite.run(wrong)
    assert wrong.kept.read_text() == "{}"
    told = capfd.readouterr()
    assert "unrecognized arguments" in told.err
    assert "pool_cost ended with 2 and told nothing" in told.out


def test_what_ray_tells_of_lost_nodes_is_no_figure() -> None:
    told = [
        "a",
        "(raylet) a node has died:",
        "",
        "\t(1) it may be",
        "    [state-dump] 1",
        "",
        "b",
        "",
    ]
    assert suite.without_ray(told) == ["a", "b", ""]
