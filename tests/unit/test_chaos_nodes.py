"""The nodes of `benchmarks/chaos.py` leave nothing behind, whatever goes wrong; and its diary."""

import os
import subprocess
import sys
import time
from pathlib import Path

import _nodes
import pytest
from _diary import Diary

ENDLESS = "import time; time.sleep(60)"


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands of ``ip``, which this user may use."""
    commands: list[str] = []
    monkeypatch.setattr(_nodes, "ip", lambda *words: commands.append(" ".join(words)))
    monkeypatch.setattr(_nodes.shutil, "which", lambda _: "/sbin/ip")
    return commands


def fail_at(words: str, called: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def ip(*command: str) -> None:
        called.append(" ".join(command))
        if words in called[-1]:
            raise OSError(f"ip {called[-1]}: not permitted")

    monkeypatch.setattr(_nodes, "ip", ip)


def test_a_bridge_without_its_address_is_taken_down(
    called: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at("addr add", called, monkeypatch)
    nodes = _nodes.Nodes()
    called.clear()
    with pytest.raises(OSError, match="not permitted"), nodes:
        pass
    assert [" ".join(each.split()[:2]) for each in called] == ["link add", "addr add", "link del"]


def test_a_namespace_that_does_not_go_keeps_no_other_one(
    called: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_nodes.Nodes, "_start_head", lambda _: None)
    monkeypatch.setattr(_nodes.Nodes, "_start", lambda *_: None)
    with _nodes.Nodes() as nodes:
        nodes.address = "10.0.0.1:6379"
        for name in ("one", "two"):
            nodes.add(name, cpus=1)
        called.clear()
        fail_at("netns del", called, monkeypatch)
    assert [each.partition("-")[2] for each in called if "netns del" in each] == ["one", "two"]
    assert called[-1].startswith("link del")
    assert "not permitted" in capfd.readouterr().err


@pytest.mark.parametrize("refused", ["netns add", "type bridge", "type veth", "nothing"])
def test_who_may_not_make_namespaces_has_nodes_without(
    refused: str, called: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at(refused, called, monkeypatch)
    assert _nodes.can_make_namespaces() is (refused == "nothing")
    assert called[-1].startswith("netns del")


def test_a_process_of_ours_is_known_by_its_mark_or_by_its_session() -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", ENDLESS], env=environment, start_new_session=True)
        for environment in ({**os.environ, _nodes.MARK: "f00d-one."}, None, None)
    ]
    marked, of_session, stranger = (process.pid for process in processes)
    try:
        deadline = time.monotonic() + 10.0
        while marked not in _nodes.own_processes("f00d-") and time.monotonic() < deadline:
            time.sleep(0.05)  # it has its environment once it has begun
        assert sorted(_nodes.own_processes("f00d-one.", {of_session})) == [marked, of_session]
        assert stranger not in _nodes.own_processes("f00d-two.", {of_session})
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_the_diary_tells_what_went_on_from_its_checkpoint_and_what_forgot(tmp_path: Path) -> None:
    diary = Diary(tmp_path)

    def told(number: int, *notes: tuple[str, int]) -> None:
        for what, epoch in notes:
            diary.note(number, what, epoch=epoch, mark="a-trainer1.")

    told(1, ("begin", 0), ("epoch", 1), ("epoch", 2), ("begin", 2), ("epoch", 3), ("end", 0))
    # Tune gave it its checkpoint, and it did not look.
    told(2, ("begin", 0), ("epoch", 1), ("epoch", 2), ("epoch", 3), ("begin", 3), ("epoch", 1))
    told(3, ("begin", 0))
    again = {each.number: (each.behind, each.epoch) for each in diary.begun_again()}
    assert again == {1: (2, 2), 2: (3, 0)}
    assert diary.ended() == 1
    assert diary.in_flight("trainer1") == {2: 1, 3: 0}
    assert diary.in_flight("trainer2") == {}
