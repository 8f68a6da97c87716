"""Energy counters."""

from __future__ import annotations

from pathlib import Path

from raytune_edge.callbacks.run_record import Rapl, _merged


def counter(root: Path, name: str, joules: float, limit: float = 1000.0) -> None:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "energy_uj").write_text(f"{int(joules * 1e6)}\n")
    (folder / "max_energy_range_uj").write_text(f"{int(limit * 1e6)}\n")


def test_energy_is_summed_over_looks_and_overflows(tmp_path: Path) -> None:
    rapl = Rapl(tmp_path)
    counter(tmp_path, "intel-rapl:0", 900.0)
    counter(tmp_path, "intel-rapl:0:0", 5.0)  # a part of the package above
    counter(tmp_path, "intel-rapl", 7.0)  # the control type, no domain
    rapl.begin()
    counter(tmp_path, "intel-rapl:0", 950.0)
    rapl.sample()
    counter(tmp_path, "intel-rapl:0", 30.0)
    rapl.sample()
    assert rapl.joules == {"intel-rapl:0": 130.0}


def test_no_counter_or_no_right_to_read_it_is_no_energy(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "nowhere"):
        (root / "intel-rapl:0" / "energy_uj").mkdir(parents=True)  # reading it is an OSError
        rapl = Rapl(root)
        rapl.begin()
        rapl.sample()
        assert rapl.joules == {}


def test_a_restored_experiment_adds_to_what_it_took() -> None:
    earlier = {"energy_j": {"a": 1.0, "gone": 2.0}, "sessions": [1]}
    record = {"energy_j": {"a": 10.0, "b": 5.0}, "sessions": [2], "python": "3.11"}
    assert _merged(record, earlier) == {
        "energy_j": {"a": 11.0, "b": 5.0, "gone": 2.0},
        "sessions": [1, 2],
        "python": "3.11",
    }
    assert _merged(record, {}) == record
