"""Locks of a host: held by a process and its children, let go by their end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from raytune_edge.errors import NoDeviceError
from raytune_edge.runtimes import locks
from raytune_edge.runtimes.locks import holders, lock_file, take
from raytune_edge.runtimes.users import owner_of


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


def test_a_lock_is_for_all_users_whatever_the_umask(root: Path) -> None:
    before = os.umask(0o077)
    try:
        lock = take("stick-1-3", root)
    finally:
        os.umask(before)
    assert lock is not None
    lock.release()
    path = lock_file("stick-1-3", root)
    assert path.stat().st_mode & 0o777 == 0o644
    path.chmod(0o600)  # as an earlier version left it
    lock = take("stick-1-3", root)
    assert lock is not None
    lock.release()
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("there", [True, False])
def test_a_lock_that_another_user_keeps_is_told_with_the_mend(
    root: Path, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *rest: int) -> int:
        if not there and len(rest) == 1:
            raise FileNotFoundError
        raise PermissionError(13, "Permission denied")

    path = lock_file("stick-1-3", root)
    if there:
        path.touch()
    monkeypatch.setattr(locks.os, "open", refuse)
    with pytest.raises(NoDeviceError, match="Permission denied") as caught:
        take("stick-1-3", root)
    if there:
        assert f"sudo chmod 644 {path}" in str(caught.value)
        assert f"belongs to user {owner_of(path)!r}" in str(caught.value)
    else:
        assert f"sudo chmod 1777 {path.parent}" in str(caught.value)


def test_a_link_in_place_of_a_lock_is_not_followed(root: Path) -> None:
    lock_file("stick-1-3", root).symlink_to(root / "elsewhere")
    with pytest.raises(
        NoDeviceError, match=r"cannot be used \(.*symbolic.*\); look .* ls -l .*1-3"
    ):
        take("stick-1-3", root)
    assert not (root / "elsewhere").exists()


def test_who_has_a_file_open_is_told(tmp_path: Path) -> None:
    path = tmp_path / "node"
    path.touch()
    assert holders(path) == []
    with path.open():
        assert holders(path) == [os.getpid()]
