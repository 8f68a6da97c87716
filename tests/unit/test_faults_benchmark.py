"""The campaign of faults: it ends, and leaves nothing behind, also when it goes wrong itself."""

import collections
import random
import signal
import subprocess
import threading
from pathlib import Path

import faults
import pytest


@pytest.fixture
def campaign() -> faults.Campaign:
    """One without a cluster."""
    made = faults.Campaign.__new__(faults.Campaign)
    made.rng = random.Random(0)
    made.injected, made.outcomes = collections.Counter(), collections.Counter()
    made.stopped = []
    return made


def test_a_fault_that_cannot_be_injected_ends_the_campaign(
    campaign: faults.Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    stops: list[threading.Event] = []

    def send(stop: threading.Event, seed: int) -> None:
        stops.append(stop)
        assert stop.wait(20.0)

    def fail(kind: str) -> bool:
        raise RuntimeError("no such fault")

    monkeypatch.setattr(campaign, "requests_until", send)
    monkeypatch.setattr(campaign, "inject", fail)
    with pytest.raises(RuntimeError, match="no such fault"):
        campaign.run(8)
    assert all(stop.is_set() for stop in stops)


def test_a_child_that_was_stopped_is_let_go_in_the_end(campaign: faults.Campaign) -> None:
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    try:
        assert campaign.signal_one(lambda: [child.pid], signal.SIGSTOP)
        while Path(f"/proc/{child.pid}/stat").read_text().rpartition(") ")[2][0] != "T":
            pass
        campaign.stopped.append(2**22 + 1)  # one that has ended meanwhile
        campaign.resume_stopped()
        child.communicate(timeout=20.0)
        assert child.returncode == 0
    finally:
        child.kill()
        child.wait()
