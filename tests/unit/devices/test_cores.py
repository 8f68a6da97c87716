"""Cores for measuring children."""

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from raytune_edge.devices import cores
from raytune_edge.devices.cores import (
    ClaimedCore,
    allowed_cores,
    claim_core,
    keep_off,
    quiet_cores,
    wait_for_quiet,
)


def singles(count: int) -> list[frozenset[int]]:
    return [frozenset({cpu}) for cpu in range(count)]


@pytest.mark.parametrize(
    ("allowed", "units", "expected"),
    [
        (singles(4), 1, [{3}]),
        (singles(4), 2, [{3}, {2}]),
        (singles(2), 2, [{1}]),  # one is left for everything else
        (singles(1), 1, []),
        ([], 1, []),
        ([frozenset({0, 4}), frozenset({1, 5})], 1, [{1, 5}]),  # the sibling is kept free as well
        ([frozenset({0, 1})], 1, [{1}]),  # two hardware threads of one core
        ([frozenset({0, 2}), frozenset({1, 3})], 2, [{3}, {1}]),
    ],
)
def test_each_unit_gets_a_core_while_one_is_left(
    allowed: list[frozenset[int]], units: int, expected: list[set[int]]
) -> None:
    assert quiet_cores(allowed, units) == [frozenset(each) for each in expected]


@pytest.fixture
def claim(tmp_path: Path) -> Callable[..., ClaimedCore | None]:
    """Claim a core of a host that is made up."""
    (tmp_path / "tmp").mkdir()
    return functools.partial(claim_core, patience_s=0.0, root=tmp_path)


def test_no_two_children_of_a_host_get_one_core_and_one_is_left(
    claim: Callable[..., ClaimedCore | None],
) -> None:
    claims = [claim(singles(3), 1) for _ in range(3)]
    assert [each and set(each.cpus) for each in claims] == [{2}, {1}, None]


def test_a_core_that_is_left_meanwhile_is_claimed(
    claim: Callable[..., ClaimedCore | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = claim(singles(2), 1)
    assert first is not None
    assert claim(singles(2), 1) is None
    monkeypatch.setattr(cores.time, "sleep", lambda pause_s: first.release())
    assert claim(singles(2), 1, patience_s=5.0) is not None


def test_a_core_is_claimed_with_its_hardware_threads_or_not_at_all(
    claim: Callable[..., ClaimedCore | None],
) -> None:
    thread = claim([frozenset({0, 4})], 1)
    assert thread is not None
    assert thread.cpus == {4}
    assert claim([frozenset({0}), frozenset({1, 4})], 1) is None
    other = claim([frozenset({0}), frozenset({1})], 1)  # what was tried is let go
    assert other is not None
    assert other.cpus == {1}


def test_what_this_process_may_use_is_each_cpu_once() -> None:
    cpus = [cpu for core in allowed_cores() for cpu in core]
    assert sorted(cpus) == sorted(set(cpus))
    assert cpus


def test_a_thread_that_ends_meanwhile_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: dict[int, set[int]] = {}

    def affinity(thread: int) -> set[int]:
        if thread == 8:
            raise ProcessLookupError
        return {0, 1}

    monkeypatch.setattr(cores.os, "listdir", lambda folder: ["7", "8", "9"])
    monkeypatch.setattr(cores.os, "sched_getaffinity", affinity)
    monkeypatch.setattr(cores.os, "sched_setaffinity", moved.__setitem__)
    keep_off({1})
    assert moved == {7: {0}, 9: {0}}


def pressure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, totals_us: list[int]) -> list[float]:
    """Let the kernel tell these totals, and the clock run by the pauses slept."""
    file, slept = tmp_path / "cpu", [0.0]
    left = iter(totals_us)

    def tell() -> float:
        file.write_text(f"some avg10=0.00 avg60=0.00 total={next(left)}\nfull total=7\n")
        return real()

    real = cores._pressure_s
    monkeypatch.setattr(cores, "Path", lambda path: file if "pressure" in path else Path(path))
    monkeypatch.setattr(cores, "_pressure_s", tell)
    monkeypatch.setattr(cores.time, "sleep", lambda s: slept.append(slept[-1] + s))
    monkeypatch.setattr(cores.time, "monotonic", lambda: slept[-1])
    return slept


def test_a_quiet_host_is_not_waited_for_longer_than_a_look(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slept = pressure(monkeypatch, tmp_path, [1_000_000, 1_020_000])
    wait_for_quiet(max_pressure=0.1, limit_s=10.0)
    assert slept[-1] <= 0.5


def test_a_host_that_gets_quiet_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    totals = [0, 250_000, 500_000, 750_000, 750_000]
    slept = pressure(monkeypatch, tmp_path, totals)
    wait_for_quiet(max_pressure=0.1, limit_s=10.0)
    assert slept[-1] == 1.0


def test_a_host_that_stays_busy_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slept = pressure(monkeypatch, tmp_path, list(range(0, 100_000_000, 250_000)))
    assert wait_for_quiet(max_pressure=0.1, limit_s=3.0) == 3.0
    assert slept[-1] == 3.0


def test_a_kernel_that_does_not_tell_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "_pressure_s", lambda: None)
    assert wait_for_quiet(max_pressure=0.1, limit_s=3.0) == 0.0
