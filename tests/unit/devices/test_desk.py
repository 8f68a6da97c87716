"""The desk: every order is answered once, whatever comes of it."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from raytune_edge.config import Timing
from raytune_edge.devices.desk import Answer, Desk, Order
from raytune_edge.errors import DeviceBusyError, DeviceDiedError, DeviceError
from raytune_edge.records import Measurement
from tests.unit.test_records import measurement

DIED = DeviceDiedError("it ended")


def order(experiment: str = "a", **timing: Any) -> Order:
    return Order(
        payload=None,
        timing=Timing(**timing),
        signature="",
        priority=0,
        experiment=experiment,
        job="1",
        use_store=False,
    )


def run(play: Callable[[Desk], Awaitable[None]], *, healthy: set[str] | None = None) -> None:
    """Play a scene at a desk with two devices."""
    devices = {"one", "two"} if healthy is None else healthy

    async def scene() -> None:
        await play(Desk(max_tries=3, healthy=lambda: devices))

    asyncio.run(scene())


async def soon(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


def test_an_order_waits_until_a_device_has_measured_it() -> None:
    async def play(desk: Desk) -> None:
        waiting = asyncio.create_task(desk.measure(order()))
        job = await desk.take("one")
        assert not waiting.done()
        desk.answer(job, measurement(), started_at=job.came_at + 2.5)
        assert await waiting == dataclasses.replace(measurement(), queue_wait_s=2.5)
        assert desk.queue_length == 0
        assert desk.experiments == set()

    run(play)


def test_a_device_waits_for_an_order() -> None:
    async def play(desk: Desk) -> None:
        taking = asyncio.create_task(desk.take("one"))
        await asyncio.sleep(0)
        assert not taking.done()
        waiting = asyncio.create_task(desk.measure(order()))
        desk.answer(await taking, measurement(), started_at=0.0)
        await waiting

    run(play)


def test_an_order_that_went_wrong_goes_to_another_device() -> None:
    async def play(desk: Desk) -> None:
        waiting = asyncio.create_task(desk.measure(order()))
        job = await desk.take("one")
        await desk.failed(job, DIED, "one")
        again = asyncio.create_task(desk.take("one"))
        await asyncio.sleep(0)
        assert not again.done()
        assert await desk.take("two") is job
        desk.answer(job, measurement(), started_at=0.0)
        await waiting
        again.cancel()

    run(play)


def test_an_order_goes_back_to_the_only_healthy_device() -> None:
    async def play(desk: Desk) -> None:
        waiting = asyncio.create_task(desk.measure(order()))
        job = await desk.take("one")
        await desk.failed(job, DIED, "one")
        assert await desk.take("one") is job
        desk.answer(job, measurement(), started_at=0.0)
        await waiting

    run(play, healthy={"one"})


def test_the_caller_is_told_after_too_many_tries() -> None:
    async def play(desk: Desk) -> None:
        waiting = asyncio.create_task(desk.measure(order()))
        for _ in range(3):
            await desk.failed(await desk.take("one"), DIED, "one")
        answer = await waiting
        assert isinstance(answer, DeviceDiedError)
        assert "3 tries on one" in str(answer)
        assert "it ended" in str(answer)

    run(play, healthy={"one"})


def test_an_order_that_waits_too_long_is_given_up() -> None:
    async def play(desk: Desk) -> None:
        answer = await desk.measure(order(queue_timeout_s=1e-3))
        assert isinstance(answer, DeviceBusyError)
        assert "0.001 s" in str(answer)
        assert desk.queue_length == 0

    run(play)


def test_the_limit_of_the_queue_does_not_end_what_is_being_measured() -> None:
    async def play(desk: Desk) -> None:
        waiting = asyncio.create_task(desk.measure(order(queue_timeout_s=1e-3)))
        job = await desk.take("one")
        await asyncio.sleep(5e-3)
        assert not waiting.done()
        desk.answer(job, measurement(), started_at=0.0)
        assert not isinstance(await waiting, DeviceError)

    run(play)


def test_an_order_that_comes_back_after_its_limit_is_given_up_with_the_reason() -> None:
    async def play(desk: Desk) -> None:
        waiting = asyncio.create_task(desk.measure(order(queue_timeout_s=1e-3)))
        job = await desk.take("one")
        await asyncio.sleep(5e-3)
        await desk.failed(job, DIED, "one")
        answer = await waiting
        assert isinstance(answer, DeviceBusyError)
        assert "it went wrong before: it ended" in str(answer)

    run(play)


def test_the_time_on_a_device_is_not_counted_as_time_in_the_queue() -> None:
    async def play(desk: Desk) -> None:
        waiting = asyncio.create_task(desk.measure(order(queue_timeout_s=0.05)))
        for _ in range(2):
            job = await desk.take("one")
            await asyncio.sleep(0.1)
            await desk.failed(job, DIED, "one")
        desk.answer(await desk.take("one"), measurement(), started_at=0.0)
        assert not isinstance(await waiting, DeviceError)

    run(play, healthy={"one"})


def test_time_in_the_queue_is_added_up() -> None:
    async def play(desk: Desk) -> None:
        waiting = asyncio.create_task(desk.measure(order(queue_timeout_s=100.0)))
        job = await desk.take("one")
        assert job.limit is not None
        assert job.limit.cancelled()
        job.waited_s += 90.0
        await desk.failed(job, DIED, "one")
        left_s = job.limit.when() - asyncio.get_running_loop().time()
        assert 5.0 < left_s <= 10.0
        desk.answer(await desk.take("one"), measurement(), started_at=0.0)
        await waiting

    run(play, healthy={"one"})


def test_who_gives_up_is_told_why_no_device_takes_requests() -> None:
    async def scene() -> Answer:
        told = ["one is quarantined, tried again in 42 s: its stick is gone"]
        desk = Desk(max_tries=3, healthy=set, troubles=lambda: told)
        return await desk.measure(order(queue_timeout_s=1e-3))

    answer = asyncio.run(scene())
    assert isinstance(answer, DeviceBusyError)
    assert str(answer).endswith(
        "0 devices are healthy; one is quarantined, tried again in 42 s: its stick is gone"
    )


def test_what_the_device_waited_counts_as_queue() -> None:
    async def play(desk: Desk) -> None:
        waiting = asyncio.create_task(desk.measure(order()))
        job = await desk.take("one")
        waited = dataclasses.replace(measurement(), queue_wait_s=3.0)
        desk.answer(job, waited, started_at=job.came_at + 2.5)
        answer = await waiting
        assert isinstance(answer, Measurement)
        assert answer.queue_wait_s == 5.5

    run(play)


def test_an_experiment_that_ends_takes_its_orders_along() -> None:
    async def play(desk: Desk) -> None:
        mine = [asyncio.create_task(desk.measure(order("a"))) for _ in range(3)]
        other = asyncio.create_task(desk.measure(order("b")))
        running = await desk.take("one")
        assert running.experiment == "a"
        desk.drop("a", DeviceError("closed"))
        assert [str(answer) for answer in await asyncio.gather(*mine)] == ["closed"] * 3
        await desk.failed(running, DIED, "one")  # answered already: it does not come back
        assert desk.queue_length == 1
        desk.answer(await desk.take("one"), measurement(), started_at=0.0)
        await other

    run(play)


def test_places_and_the_expected_wait() -> None:
    async def play(desk: Desk) -> None:
        tasks = [asyncio.create_task(desk.measure(order(name))) for name in "aab"]
        await soon(lambda: desk.queue_length == 3)
        assert desk.places("a") == (1, 3)
        assert desk.places("b") == (2,)
        assert desk.places("c") == ()
        before = desk.expected_wait_s()
        assert before is not None
        long = dataclasses.replace(measurement(), measure_s=100.0)
        desk.answer(await desk.take("one"), long, started_at=0.0)
        after = desk.expected_wait_s()
        assert after is not None
        assert after > 10 * before
        for _ in range(2):
            desk.answer(await desk.take("one"), long, started_at=0.0)
        await asyncio.gather(*tasks)
        assert desk.expected_wait_s() == 0

    run(play)


def test_nobody_knows_the_wait_while_no_device_is_healthy() -> None:
    async def play(desk: Desk) -> None:
        assert desk.expected_wait_s() is None

    run(play, healthy=set())


@pytest.mark.parametrize("takers", [1, 2])
def test_a_thousand_orders_are_each_answered_once(takers: int) -> None:
    async def play(desk: Desk) -> None:
        async def serve(device: str) -> None:
            while True:
                job = await desk.take(device)
                await asyncio.sleep(0)
                if job.number % 7 == 0 and job.tries == 0:
                    await desk.failed(job, DIED, device)
                else:
                    desk.answer(job, measurement(), started_at=job.came_at)

        devices = [asyncio.create_task(serve(name)) for name in ("one", "two")[:takers]]
        answers = await asyncio.gather(*(desk.measure(order()) for _ in range(1000)))
        assert answers == [measurement()] * 1000
        for device in devices:
            device.cancel()

    run(play, healthy={"one", "two"} if takers == 2 else {"one"})
