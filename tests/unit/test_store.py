"""Kept measurements: found by their key, never by another, and never trusted when damaged."""

import dataclasses
import hashlib
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest

from raytune_edge.config import Timing
from raytune_edge.errors import OutputError
from raytune_edge.records import Measurement
from raytune_edge.store import Store
from tests.unit.test_records import measurement

TIMING = Timing()


def kept(signature: str = "abc", **changes: object) -> Measurement:
    values = {"signature": signature, "taken_at": time.time(), **changes}
    return dataclasses.replace(measurement(), **values)  # type: ignore[arg-type]


def get(store: Store, timing: Timing = TIMING, **changes: object) -> Measurement | None:
    record = kept()
    key = {"signature": "abc", "device_name": record.device_name, "runtime": record.runtime}
    max_age_s = changes.pop("max_age_s", None)
    return store.get(**{**key, **changes}, timing=timing, max_age_s=max_age_s)  # type: ignore[arg-type]


def test_a_kept_record_says_that_it_is_cached_and_when_it_was_taken(tmp_path: Path) -> None:
    store, record = Store(tmp_path), kept()
    store.put(record, TIMING)
    found = get(Store(tmp_path))
    assert found == dataclasses.replace(record, cached=True)


def test_the_newest_record_answers(tmp_path: Path) -> None:
    store, now = Store(tmp_path), time.time()
    for age_s in (20.0, 10.0, 30.0):
        store.put(kept(taken_at=now - age_s), TIMING)
    found = get(store)
    assert found is not None
    assert found.taken_at == now - 10.0


def test_accuracy_is_not_kept_because_it_depends_on_the_weights(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(kept(top1=0.9, top5=1.0), TIMING)
    found = get(store)
    assert found is not None
    assert (found.top1, found.top5) == (None, None)


@pytest.mark.parametrize(
    "other", [{"signature": "abd"}, {"device_name": "another"}, {"runtime": "openvino 2025.0"}]
)
def test_another_key_finds_nothing(tmp_path: Path, other: dict[str, str]) -> None:
    store = Store(tmp_path)
    store.put(kept(), TIMING)
    assert get(store, **other) is None


def test_other_settings_find_nothing_but_other_time_limits_do(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(kept(), TIMING)
    assert get(store, Timing(precision="f16")) is None
    assert get(store, Timing(timeout_s=1.0)) is not None


def test_a_record_that_is_too_old_does_not_answer(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(kept(taken_at=time.time() - 100), TIMING)
    assert get(store, max_age_s=50.0) is None
    assert get(store, max_age_s=200.0) is not None


def test_a_doubtful_record_is_kept_but_does_not_answer(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(kept(flags=("noisy",)), TIMING)
    assert get(store) is None
    assert len(store.records()) == 1


def test_figures_that_disagree_are_both_doubted_and_measured_again(tmp_path: Path) -> None:
    store, now = Store(tmp_path), time.time()
    store.put(kept(taken_at=now - 4, latency_p50_ms=1.01), TIMING)
    store.put(kept(taken_at=now - 3, latency_p50_ms=1.0), TIMING)
    assert get(store) is not None
    store.put(kept(taken_at=now - 2, latency_p50_ms=1.2), TIMING)
    assert get(store) is None
    assert [record.flags for record in store.records()] == [
        ("another measurement of the same network took p50 1.2 ms",),
        ("another measurement of the same network took p50 1.2 ms",),
        ("another measurement of the same network took p50 1 ms",),
    ]
    store.put(kept(taken_at=now - 1, latency_p50_ms=1.0), TIMING)
    found = get(store)
    assert found is not None
    assert found.taken_at == now - 1


def test_a_doubtful_figure_casts_no_doubt_on_others(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(kept(), TIMING)
    store.put(kept(latency_p50_ms=2.0, flags=("noisy",)), TIMING)
    assert get(store) is not None


def test_a_record_of_another_version_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    store.put(kept(), TIMING)
    with sqlite3.connect(store.path) as connection:
        (text,) = connection.execute("SELECT record FROM measurements").fetchone()
        text = text.replace('"kind"', '"sort"')
        row = (text, hashlib.sha256(text.encode()).hexdigest())
        connection.execute("UPDATE measurements SET record = ?, sha256 = ?", row)
    connection.close()
    assert get(store) is None
    assert "another version" in caplog.text


def test_a_damaged_file_that_cannot_be_set_aside_costs_no_measurement(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    store.path.write_bytes(b"not a database" * 1000)

    def refuse(*arguments: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr("raytune_edge.store.os.rename", refuse)
    store.put(kept(), TIMING)
    assert get(store) is None
    assert "damaged and stays so: read-only" in caplog.text


def test_a_damaged_file_is_set_aside_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Store(tmp_path).put(kept(), TIMING)
    path = Store(tmp_path).path
    for leftover in tmp_path.glob(f"{path.name}-*"):
        leftover.unlink()
    path.write_bytes(b"not a database" * 1000)
    store = Store(tmp_path)
    assert get(store) is None
    store.put(kept(), TIMING)
    assert get(store) is not None
    assert list(tmp_path.glob("*.damaged-*"))
    assert "damaged" in caplog.text


def test_a_row_that_was_tampered_with_is_passed_over(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(kept(), TIMING)
    with sqlite3.connect(store.path) as connection:
        connection.execute("UPDATE measurements SET record = replace(record, '1.0', '0.1')")
    connection.close()
    assert get(store) is None


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        Store(tmp_path / "file" / "store")


@pytest.mark.parametrize("seed", range(20))
def test_damage_anywhere_in_the_file_never_yields_a_wrong_figure(tmp_path: Path, seed: int) -> None:
    names = [f"network {number}" for number in range(30)]
    records = {name: kept(name, latency_p50_ms=float(n)) for n, name in enumerate(names, start=1)}
    store = Store(tmp_path)
    for record in records.values():
        store.put(record, TIMING)
    random = np.random.default_rng(seed)
    content = bytearray(store.path.read_bytes())
    start = int(random.integers(0, len(content) - 600))
    content[start : start + 600] = random.bytes(600)
    store.path.write_bytes(content)

    for _ in range(2):  # as it was opened, and opened anew
        for name, record in records.items():
            found = get(store, signature=name)
            assert found is None or found == dataclasses.replace(record, cached=True)
        store = Store(tmp_path)
    store.put(kept("after"), TIMING)
    assert get(store, signature="after") is not None
