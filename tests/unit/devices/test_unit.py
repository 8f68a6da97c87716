"""One device at work: the ladder on trouble, the sentinel, and what the status tells."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from unittest.mock import ANY

import pytest

from raytune_edge.config import Timing
from raytune_edge.devices.actor import Opened
from raytune_edge.devices.desk import Answer, Desk, Order
from raytune_edge.devices.sentinel import TIMING
from raytune_edge.devices.unit import Unit
from raytune_edge.errors import (
    DeviceDiedError,
    DeviceTimeoutError,
    NoDeviceError,
    UnsupportedModelError,
)
from raytune_edge.records import Measurement
from raytune_edge.runtimes import DeviceFacts
from tests.unit.devices.test_desk import order
from tests.unit.test_records import measurement

FACTS = DeviceFacts(runtime="fake 1", device_name="a fake", devices={}, python="3.11.7", pid=2)
DIED = DeviceDiedError("it ended")
Scripted = float | Measurement | Exception


class ScriptedLine:
    """A device whose answers are written down: figures in ms, records, or errors."""

    device_id = "host/ncs:0"
    waits = ""

    def __init__(
        self, answers: Iterable[Scripted] = (), reference: Iterable[Scripted] = ()
    ) -> None:
        self.answers, self.reference = iter(answers), iter(reference)
        self.opens: list[Exception] = []
        self.opened, self.ended, self.referenced = 0, 0, 0

    async def open(self) -> Opened:
        self.opened += 1
        if self.opens:
            raise self.opens.pop(0)
        return Opened(facts=FACTS, core=3, quiet=frozenset({3}), pid=77)

    async def measure(self, payload: Any, timing: Timing, **of_model: str) -> Measurement:
        is_reference = timing is TIMING
        self.referenced += is_reference
        answer = next(self.reference if is_reference else self.answers, 1.0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Measurement) else measurement(p50=answer)

    async def end(self, *, grace_s: float = 0.0) -> None:
        self.ended += 1


class Nothing:
    """A store that keeps what it is told and knows nothing."""

    def __init__(self) -> None:
        self.kept: list[Measurement] = []
        self.known: Measurement | None = None

    async def get(self, order: Order, facts: DeviceFacts) -> Measurement | None:
        assert facts == FACTS
        return self.known

    async def put(self, order: Order, measurement: Measurement) -> None:
        self.kept.append(measurement)


@dataclasses.dataclass
class Scene:
    desk: Desk
    unit: Unit
    line: ScriptedLine
    store: Nothing
    pauses: list[float]
    states: list[str]

    async def measure(self, **timing: Any) -> Answer:
        answer = await self.desk.measure(order(**timing))
        for _ in range(100):  # what comes after the answer
            await asyncio.sleep(0)
        return answer


def run(
    line: ScriptedLine,
    play: Callable[[Scene], Awaitable[None]],
    *,
    sentinel_every: int = 0,
    max_tries: int = 4,
) -> None:
    async def main() -> None:
        pauses: list[float] = []
        states: list[str] = []

        async def sleep(pause_s: float) -> None:
            pauses.append(pause_s)
            states.append(unit.status.state)

        desk = Desk(
            max_tries=max_tries,
            healthy=lambda: {line.device_id} if unit.status.healthy else set(),
        )
        store = Nothing()
        unit = Unit(
            line,
            desk,
            store,
            node_id="node",
            reference="reference" if sentinel_every else None,
            sentinel_every=sentinel_every,
            cooldown_s=10.0,
            quarantine_s=60.0,
            sleep=sleep,
        )
        serving = asyncio.create_task(unit.serve())
        try:
            await asyncio.wait_for(play(Scene(desk, unit, line, store, pauses, states)), 10.0)
        finally:
            serving.cancel()

    asyncio.run(main())


def test_a_device_that_works_is_told() -> None:
    async def play(scene: Scene) -> None:
        answer = await scene.measure()
        assert isinstance(answer, Measurement)
        status = scene.unit.status
        assert (status.state, status.measured, status.failed) == ("idle", 1, 0)
        assert (status.device_name, status.core, status.pid) == ("a fake", 3, 77)
        assert status.healthy
        assert not status.quarantined
        assert scene.store.kept == [measurement()]

    run(ScriptedLine(), play)


def test_a_request_climbs_the_ladder_and_is_answered() -> None:
    async def play(scene: Scene) -> None:
        answer = await scene.measure()
        assert isinstance(answer, Measurement)
        assert answer.latency_p50_ms == 5.0
        assert scene.pauses == [0.0, 1.0, 4.0]
        assert scene.states == ["backing off"] * 3
        assert scene.line.ended == 2  # not after the first failure: a fresh child is enough
        status = scene.unit.status
        assert (status.measured, status.failed) == (1, 3)
        assert "it ended" in status.last_error
        assert status.reason == ""

    run(ScriptedLine([DIED, DeviceTimeoutError("hung"), DIED, 5.0]), play)


def test_a_device_that_stays_broken_is_quarantined_and_tried_again() -> None:
    async def play(scene: Scene) -> None:
        answer = await scene.measure()
        assert isinstance(answer, Measurement)
        assert scene.pauses == [0.0, 1.0, 4.0, 60.0, 120.0]
        assert scene.states[-1] == "quarantined"
        assert scene.unit.status.state == "idle"

    run(ScriptedLine([DIED] * 5), play, max_tries=10)


def test_a_model_that_breaks_devices_is_given_up_and_the_device_is_not() -> None:
    """The reference model speaks for the device, and one request against it counts once."""

    async def play(scene: Scene) -> None:
        answer = await scene.measure()
        assert isinstance(answer, DeviceDiedError)
        assert scene.pauses == [0.0] * 4
        assert isinstance(await scene.measure(), Measurement)

    run(ScriptedLine([DIED] * 4), play, sentinel_every=20)


def test_a_device_that_runs_the_reference_model_and_no_other_is_quarantined() -> None:
    async def play(scene: Scene) -> None:
        for _ in range(4):
            assert isinstance(await scene.measure(), DeviceTimeoutError)
        assert scene.pauses == [0.0, 1.0, 4.0, 60.0]
        assert scene.states[-1] == "quarantined"
        assert isinstance(await scene.measure(), Measurement)
        assert isinstance(await scene.measure(), DeviceTimeoutError)
        assert scene.pauses[-1] == 0.0  # what it answered is for it

    hung = DeviceTimeoutError("hung")
    run(ScriptedLine([hung] * 4 + [1.0, hung]), play, sentinel_every=20, max_tries=1)


def test_what_goes_wrong_on_another_device_too_is_not_held_against_this_one() -> None:
    class Second(ScriptedLine):
        """Gets what another device has given back."""

        async def measure(self, payload: Any, timing: Timing, **of_model: str) -> Measurement:
            if timing is not TIMING:
                (job,) = scenes[0].desk._open
                job.failed_on.add("host/ncs:1")
            return await super().measure(payload, timing, **of_model)

    scenes: list[Scene] = []

    async def play(scene: Scene) -> None:
        scenes.append(scene)
        for _ in range(4):
            assert isinstance(await scene.measure(), DeviceDiedError)
        assert scene.pauses == [0.0] * 4

    run(Second([DIED] * 4), play, sentinel_every=20, max_tries=1)


def test_a_device_that_cannot_be_ended_is_served_all_the_same() -> None:
    class Clinging(ScriptedLine):
        async def end(self, *, grace_s: float = 0.0) -> None:
            raise RuntimeError("cannot be killed")

    async def play(scene: Scene) -> None:
        assert isinstance(await scene.measure(), Measurement)
        assert scene.pauses == [0.0, 60.0]

    run(Clinging([DIED, DIED]), play)


def test_what_its_actor_waits_for_is_told() -> None:
    class Waiting(ScriptedLine):
        waits = "waits for 1 unit of 'ncs'"

        async def open(self) -> Opened:
            await asyncio.Event().wait()
            raise AssertionError

    async def play(scene: Scene) -> None:
        assert scene.unit.status.reason == "waits for 1 unit of 'ncs'"
        assert scene.unit.status.state == "starting"
        assert scene.unit.status.trouble == "host/ncs:0 is starting: waits for 1 unit of 'ncs'"

    run(Waiting(), play)


def test_a_store_that_fails_costs_no_measurement() -> None:
    async def play(scene: Scene) -> None:
        async def fail(order: Order, measurement: Measurement) -> None:
            raise OSError("no space left")

        scene.store.put = fail  # type: ignore[method-assign]
        assert await scene.measure() == dataclasses.replace(measurement(), queue_wait_s=ANY)

    run(ScriptedLine(), play)


def test_a_host_that_leaves_while_its_figure_is_kept_has_answered() -> None:
    async def main() -> None:
        class Slow(Nothing):
            async def put(self, order: Order, measurement: Measurement) -> None:
                await super().put(order, measurement)
                await asyncio.Event().wait()

        desk, store = Desk(max_tries=4, healthy=set), Slow()
        settings = {"sentinel_every": 0, "cooldown_s": 0.0, "quarantine_s": 1.0}
        unit = Unit(ScriptedLine(), desk, store, node_id="node", reference=None, **settings)
        serving = asyncio.create_task(unit.serve())
        waiting = asyncio.create_task(desk.measure(order()))
        while not store.kept:
            await asyncio.sleep(0)
        serving.cancel()
        assert isinstance(await asyncio.wait_for(waiting, 10.0), Measurement)

    asyncio.run(main())


def test_a_doubtful_run_of_the_reference_model_is_repeated() -> None:
    noisy = dataclasses.replace(measurement(1.5), flags=("noisy",))

    async def play(scene: Scene) -> None:
        await scene.measure()
        assert scene.line.referenced == 3 + 2 + 1
        assert scene.unit.status.drift == 0.0

    run(ScriptedLine(reference=[noisy, 1.0, noisy, 1.0, 1.0]), play, sentinel_every=1)


def test_a_device_whose_reference_stays_doubtful_is_served_all_the_same() -> None:
    noisy = dataclasses.replace(measurement(1.5), flags=("noisy",))

    async def play(scene: Scene) -> None:
        assert isinstance(await scene.measure(), Measurement)
        assert scene.line.referenced == 9

    run(ScriptedLine(reference=[noisy] * 9), play, sentinel_every=20)


@pytest.mark.parametrize("error", [UnsupportedModelError("HardSigmoid"), ValueError("shape")])
def test_what_is_no_fault_of_the_device_is_told_and_not_tried_again(error: Exception) -> None:
    async def play(scene: Scene) -> None:
        assert await scene.measure() is error
        assert scene.pauses == []
        assert scene.unit.status.failed == 0
        assert scene.unit.status.state == "idle"

    run(ScriptedLine([error]), play)


def test_a_device_that_is_not_there_is_quarantined_with_the_reason() -> None:
    line = ScriptedLine()
    line.opens = [NoDeviceError("sees no device 'GPU'")]

    async def play(scene: Scene) -> None:
        await scene.measure()
        assert scene.pauses == [60.0]
        assert scene.states == ["quarantined"]
        assert "sees no device 'GPU'" in scene.unit.status.last_error

    run(line, play)


def test_a_bug_does_not_end_the_loop() -> None:
    async def play(scene: Scene) -> None:
        assert isinstance(await scene.measure(), Measurement)
        assert "KeyError" in scene.unit.status.last_error

    run(ScriptedLine([KeyError("oops")]), play)


def test_what_the_store_knows_is_not_measured() -> None:
    known = dataclasses.replace(measurement(), cached=True)

    async def play(scene: Scene) -> None:
        scene.store.known = known
        assert await scene.measure() == known
        assert scene.unit.status.measured == 0

    run(ScriptedLine(), play)


def test_the_sentinel_looks_at_the_start_and_every_k_requests() -> None:
    async def play(scene: Scene) -> None:
        counts = []
        for _ in range(7):
            await scene.measure()
            counts.append(scene.line.referenced)
        assert counts == [3, 3, 4, 4, 4, 5, 5]  # one run is enough while it is near the start
        assert scene.unit.status.drift == 0.0
        assert not scene.unit.status.drifting

    run(ScriptedLine(), play, sentinel_every=3)


def test_drift_is_told_flagged_and_asks_for_a_pause() -> None:
    hot = [1.2] * 6

    async def play(scene: Scene) -> None:
        before, flagged = await scene.measure(), await scene.measure()
        assert scene.pauses == [10.0]
        assert scene.states == ["cooling"]
        assert isinstance(before, Measurement)
        assert isinstance(flagged, Measurement)
        assert before.flags == ()
        assert flagged.flags == ("the device drifts: its reference model is +20.0% off the start",)
        assert scene.store.kept[1].flags  # the store knows it too
        healed = await scene.measure()
        assert isinstance(healed, Measurement)
        assert healed.flags == ()
        assert not scene.unit.status.drifting

    run(ScriptedLine(reference=[1.0] * 3 + hot), play, sentinel_every=1)


def test_a_device_that_cools_down_is_trusted_again() -> None:
    async def play(scene: Scene) -> None:
        await scene.measure()
        assert scene.pauses == [10.0]
        assert not scene.unit.status.drifting
        after = await scene.measure()
        assert isinstance(after, Measurement)
        assert after.flags == ()

    run(ScriptedLine(reference=[1.0] * 3 + [1.2] * 3), play, sentinel_every=1)


def test_a_device_that_cannot_run_the_reference_model_goes_without() -> None:
    async def play(scene: Scene) -> None:
        assert isinstance(await scene.measure(), Measurement)
        assert scene.line.referenced == 1
        assert scene.unit.status.drift is None

    run(ScriptedLine(reference=[UnsupportedModelError("no Conv")]), play, sentinel_every=1)


def test_a_host_that_leaves_gives_its_request_back() -> None:
    class Hanging(ScriptedLine):
        async def measure(self, *arguments: Any, **of_model: str) -> Measurement:
            await asyncio.Event().wait()
            raise AssertionError

    async def main() -> None:
        desk = Desk(max_tries=4, healthy=lambda: {"host/ncs:1"})
        unit = Unit(
            Hanging(),
            desk,
            Nothing(),
            node_id="node",
            reference=None,
            sentinel_every=0,
            cooldown_s=0.0,
            quarantine_s=1.0,
        )
        serving = asyncio.create_task(unit.serve())
        waiting = asyncio.create_task(desk.measure(order()))
        while unit.status.state != "busy":
            await asyncio.sleep(0)
        serving.cancel()
        job = await asyncio.wait_for(desk.take("host/ncs:1"), 10.0)
        desk.answer(job, measurement(), started_at=0.0)
        assert isinstance(await waiting, Measurement)

    asyncio.run(main())
