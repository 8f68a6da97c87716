"""The store under several processes, killed ones among them."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from raytune_edge.store import Store

WRITER = """
import sys, dataclasses, time
from raytune_edge.config import Timing
from raytune_edge.store import Store
from tests.unit.test_records import measurement
folder, writer, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
for number in range(count):
    store = Store(folder)
    record = dataclasses.replace(
        measurement(), signature=f"{writer}-{number}", taken_at=time.time()
    )
    store.put(record, Timing())
    found = store.get(
        record.signature, device_name=record.device_name, runtime=record.runtime, timing=Timing()
    )
    assert found == dataclasses.replace(record, cached=True), found
    print(number, flush=True)
"""
ROOT = Path(__file__).parents[2]


def start_writer(folder: Path, name: str, count: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITER, str(folder), name, str(count)]
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_no_record_is_lost_among_processes(tmp_path: Path) -> None:
    writers = [start_writer(tmp_path, f"writer{number}", 40) for number in range(4)]
    for writer in writers:
        _, errors = writer.communicate(timeout=120)
        assert writer.returncode == 0, errors
        assert errors == ""  # a record that was left out would be told here
    assert len({record.signature for record in Store(tmp_path).records()}) == 4 * 40


def test_a_writer_that_is_killed_loses_at_most_the_record_in_its_hands(tmp_path: Path) -> None:
    finished = 0
    for attempt in range(5):
        writer = start_writer(tmp_path, f"killed{attempt}", 100_000)
        assert writer.stdout is not None
        for _ in range(5):
            writer.stdout.readline()
        time.sleep(0.01 * attempt)
        writer.send_signal(signal.SIGKILL)
        rest, _ = writer.communicate()
        finished += 5 + rest.count("\n")
    records = Store(tmp_path).records()
    assert finished <= len(records) <= finished + 5
    assert not list(tmp_path.glob("*.damaged-*"))


def test_one_process_sets_a_damaged_file_aside_and_all_go_on(tmp_path: Path) -> None:
    Store(tmp_path).path.write_bytes(b"no database" * 5000)
    writers = [start_writer(tmp_path, f"writer{number}", 10) for number in range(4)]
    for writer in writers:
        _, errors = writer.communicate(timeout=120)
        assert writer.returncode == 0, errors
    assert len(Store(tmp_path).records()) == 40
    assert len([path for path in tmp_path.glob("*.damaged-*") if "-wal" not in path.name]) == 1
