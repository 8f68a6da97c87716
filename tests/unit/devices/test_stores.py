"""The stores of a pool: whose record may answer, and what a lost folder costs."""

import asyncio
import dataclasses
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from raytune_edge.devices.desk import Order
from raytune_edge.devices.stores import Stores
from raytune_edge.errors import OutputError
from raytune_edge.records import Measurement
from raytune_edge.store import Store
from tests.unit.devices import test_desk
from tests.unit.devices.test_unit import FACTS
from tests.unit.test_records import measurement

RECORD = dataclasses.replace(
    measurement(),
    signature="abc",
    taken_at=time.time() - 100,
    device_name=FACTS.device_name,
    runtime=FACTS.runtime,
)


def order(folder: Path | str, **changes: Any) -> Order:
    asked = {"store": str(folder), "signature": "abc", "use_store": True, **changes}
    return dataclasses.replace(test_desk.order(), **asked)


def put_and_get(put: Order, get: Order) -> Measurement | None:
    async def play() -> Measurement | None:
        stores = Stores()
        await stores.put(put, RECORD)
        return await stores.get(get, FACTS)

    return asyncio.run(play())


def test_a_kept_record_answers(tmp_path: Path) -> None:
    found = put_and_get(order(tmp_path), order(tmp_path))
    assert found == dataclasses.replace(RECORD, cached=True)


def test_one_that_was_asked_for_afresh_is_kept_for_others(tmp_path: Path) -> None:
    fresh = order(tmp_path, use_store=False)
    assert put_and_get(fresh, fresh) is None
    assert put_and_get(fresh, order(tmp_path)) is not None


@pytest.mark.parametrize(
    "changes", [{"store": ""}, {"signature": ""}, {"signature": "abd"}, {"max_age_s": 50.0}]
)
def test_what_does_not_fit_does_not_answer(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert put_and_get(order(tmp_path), order(tmp_path, **changes)) is None


def test_experiments_have_stores_of_their_own(tmp_path: Path) -> None:
    assert put_and_get(order(tmp_path / "one"), order(tmp_path / "two")) is None


@pytest.mark.parametrize("question", ["get", "put"])
def test_a_store_that_goes_wrong_costs_no_measurement(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    def fail(*arguments: Any, **named: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Store, question, fail)
    assert put_and_get(order(tmp_path), order(tmp_path)) is None
    assert "no space left" in caplog.text


def test_a_slow_store_is_not_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = threading.Event()
    monkeypatch.setattr(Store, "get", lambda *arguments, **named: let_go.wait(10.0))

    async def play() -> None:
        assert await Stores(patience_s=0.01).get(order(tmp_path), FACTS) is None
        let_go.set()

    asyncio.run(play())
    assert "took longer than 0.01 s" in caplog.text


def test_a_folder_that_is_lost_costs_no_measurement(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    lost = order(tmp_path / "file" / "folder")
    assert put_and_get(lost, lost) is None
    assert "measurements are not kept" in caplog.text
    with pytest.raises(OutputError):
        asyncio.run(Stores().open(lost.store))
