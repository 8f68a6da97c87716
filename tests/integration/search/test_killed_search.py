"""The driver is killed twice and started again: nothing that was done is lost or done anew."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from raytune_edge.store import Store

SEARCH = Path(__file__).with_name("killed_search.py")
TRIALS, EPOCHS = 10, 3


def start(folder: Path) -> subprocess.Popen[bytes]:
    """The driver; it writes to a file, since a pipe would stay open in Ray's processes."""
    with (folder / "output").open("w") as output:
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", str(SEARCH), str(folder)],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def begun(folder: Path) -> list[tuple[str, int]]:
    path = folder / "begun"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(line["trial"], line["after"]) for line in map(json.loads, lines)]


def done(folder: Path) -> set[str]:
    """Trials whose last report has been written."""
    finished = set()
    for path in (folder / "tune" / "killed").glob("*/result.json"):
        reports = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
        finished |= {each["trial_id"] for each in reports[-1:] if each["stage"] == "done"}
    return finished


def kill_after(driver: subprocess.Popen[bytes], folder: Path, trials: int) -> set[str]:
    """SIGKILL the driver as soon as so many trials have ended; those that had."""
    deadline = time.monotonic() + 240
    while len(done(folder)) < trials and time.monotonic() < deadline and driver.poll() is None:
        time.sleep(0.05)
    finished = done(folder)
    driver.kill()
    assert driver.wait(timeout=60) == -signal.SIGKILL, (folder / "output").read_text()[-3000:]
    return finished


@pytest.mark.timeout(600)
def test_a_killed_driver_goes_on_where_it_was(tmp_path: Path) -> None:
    finished_before = []
    for trials in (3, 6):
        driver = start(tmp_path)
        finished = kill_after(driver, tmp_path, trials)
        assert len(finished) >= trials
        finished_before.append((finished, len(begun(tmp_path))))
    driver = start(tmp_path)
    ended = driver.wait(timeout=280)
    output = (tmp_path / "output").read_text()
    assert ended == 0, output[-3000:]
    lines = {line.partition(": ")[0]: line.partition(": ")[2] for line in output.splitlines()}
    statuses = Counter(lines["statuses"].split())
    assert set(statuses) <= {"done", "stopped"}
    assert statuses.total() == TRIALS
    assert int(lines["distinct"]) == TRIALS  # the search remembers what it suggested

    for finished, count in finished_before:
        again = {trial for trial, _ in begun(tmp_path)[count:]}
        assert not finished & again  # none of them was retrained anew
    retrained = Counter(trial for trial, _ in begun(tmp_path))
    resumed = [(trial, after) for trial, after in begun(tmp_path) if retrained[trial] > 1]
    assert any(after > 0 for _, after in resumed), resumed  # from the last epoch, not the first
    assert len(Store(tmp_path / "store").records()) >= TRIALS
    assert not (tmp_path / "tune" / "killed" / "error.pkl").exists()
