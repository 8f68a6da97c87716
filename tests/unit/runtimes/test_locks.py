"""Locks of a host: held by a process and its children, let go by their end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from raytune_edge.runtimes.locks import holders, lock_file, take


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "tmp").mkdir()
    return tmp_path


def test_a_lock_has_one_holder_until_it_is_released(root: Path) -> None:
    first = take("stick-1-3", root)
    assert first is not None
    assert take("stick-1-3", root) is None
    other = take("stick-1-4", root)
    assert other is not None
    first.release()
    first.release()
    again = take("stick-1-3", root)
    assert again is not None
    for lock in (again, other):
        lock.release()


def test_a_child_that_inherits_a_lock_holds_it_until_its_end(root: Path) -> None:
    lock = take("stick-1-3", root)
    assert lock is not None
    child = subprocess.Popen(
        [sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[lock.descriptor]
    )
    lock.release()
    assert take("stick-1-3", root) is None
    child.communicate(b"\n")
    freed = take("stick-1-3", root)
    assert freed is not None
    freed.release()


def test_a_lock_of_another_user_can_be_taken(root: Path) -> None:
    path = lock_file("stick-1-3", root)
    path.touch(mode=0o444)
    lock = take("stick-1-3", root)
    assert lock is not None
    lock.release()


def test_a_link_in_place_of_a_lock_is_not_followed(root: Path) -> None:
    lock_file("stick-1-3", root).symlink_to(root / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        take("stick-1-3", root)
    assert not (root / "elsewhere").exists()


def test_who_has_a_file_open_is_told(tmp_path: Path) -> None:
    path = tmp_path / "node"
    path.touch()
    assert holders(path) == []
    with path.open():
        assert holders(path) == [os.getpid()]
