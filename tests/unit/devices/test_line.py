"""The pool's end of the line to a device's actor: what its troubles are called."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayActorError, RayTaskError

from raytune_edge.config import Timing
from raytune_edge.devices import actor
from raytune_edge.devices.actor import DeviceLine
from raytune_edge.devices.cluster import UnitPlace
from raytune_edge.errors import DeviceError, DeviceTimeoutError
from raytune_edge.runtimes import DeviceSpec
from tests.unit.test_records import measurement

PLACE = UnitPlace(
    node_id="1" * 56, host="host", index=0, units=1, resources={"ncs": 1.0, "ncs:0": 1.0}
)


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The actors that Ray was told to kill."""
    killed: list[Any] = []
    monkeypatch.setattr(actor.ray, "kill", lambda each, no_restart: killed.append(each))
    return killed


def line_to(**methods: Any) -> DeviceLine:
    """A line to an actor whose methods are these."""
    line = DeviceLine(DeviceSpec(device="FAKE"), PLACE, "host/ncs:0")
    line._actor = SimpleNamespace(
        **{name: SimpleNamespace(remote=method) for name, method in methods.items()}
    )
    return line


async def hang(*arguments: Any) -> None:
    await asyncio.Event().wait()


def outcome(error: Exception) -> str:
    """What the pool is told when a measurement ends with this error of Ray's."""

    async def measure(*arguments: Any) -> None:
        raise error

    with pytest.raises(DeviceError) as caught:
        asyncio.run(line_to(measure=measure, close=hang).measure("model", Timing()))
    return f"{caught.type.__name__}: {caught.value}"


def remote(cause: Exception) -> RayTaskError:
    return RayTaskError("measure", "the trace", cause, proctitle="p", pid=1, ip="127.0.0.1")


def test_an_errors_path_is_told() -> None:
    error = remote(PermissionError(13, "Permission denied", "/tmp/lock"))
    told = "DeviceError: host/ncs:0: PermissionError: [Errno 13] Permission denied: '/tmp/lock'"
    assert outcome(error) == told


def test_a_lost_actors_cause_is_told(killed: list[Any]) -> None:
    text = "It died.\n\tpid: 7\nIts \x1b[36mnode\x1b[39m is gone.\nThe actor never ran - cancelled."
    told = outcome(RayActorError(None, text))
    assert told == "DeviceDiedError: host/ncs:0: its actor is gone: Its node is gone."
    assert len(killed) == 1


def test_a_sticks_word_for_any_trouble_is_told_with_what_to_look_at() -> None:
    told = outcome(remote(DeviceError("Can not init Myriad device: NC_ERROR")))
    assert told.startswith("DeviceError: Can not init Myriad device: NC_ERROR; ")
    for each in ("cable", "power", "'raytune-edge doctor --device MYRIAD' on host", "quarantine_s"):
        assert each in told


def test_a_silent_node_is_not_called_an_actor(monkeypatch: pytest.MonkeyPatch) -> None:
    line = DeviceLine(DeviceSpec(device="FAKE"), PLACE, "host/ncs:0")
    monkeypatch.setattr(actor, "versions_on", hang)
    monkeypatch.setattr(actor, "ANSWER_S", 0.01)
    with pytest.raises(DeviceTimeoutError, match=r"its node did not answer in 0\.01 s"):
        asyncio.run(line.open())


def test_an_actor_is_killed_also_if_ending_it_is_cancelled(killed: list[Any]) -> None:
    async def play() -> None:
        ending = asyncio.create_task(line_to(close=hang).end())
        await asyncio.sleep(0)
        ending.cancel()
        await asyncio.wait([ending])

    asyncio.run(play())
    assert len(killed) == 1


def test_an_actor_that_is_not_started_is_told_with_what_it_waits_for() -> None:
    line = line_to()
    assert line.waits == ""
    line._asked_at = time.monotonic()
    assert line.waits == ""
    line._asked_at -= 10.0
    assert line.waits.startswith("waits for 1 unit of 'ncs' and 1 unit of 'ncs:0', which something")


def test_waiting_for_quiet_counts_as_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actor, "wait_for_quiet", lambda **limits: 4.0)
    device = actor.DeviceActor.__new__(actor.DeviceActor)
    device._shares_cpu = True
    device._instrument = SimpleNamespace(measure=lambda *a, **k: measurement())  # type: ignore[assignment]
    assert device.measure(actor.pack(b"model"), Timing(), "", "").queue_wait_s == 4.0


def test_a_large_model_travels_in_pieces_that_make_it_up_again() -> None:
    model = bytes(range(256)) * 10_000
    pieces, sample = actor.pack(model)
    assert sample is None
    assert len(pieces) == 3
    assert b"".join(piece.data for piece in pieces) == model
