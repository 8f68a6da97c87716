"""When two nodes' versions disagree, and what the message tells."""

import re

import pytest

from raytune_edge.devices.versions import mismatch, versions_here

HERE = {"Python": "3.11.7", "Ray": "2.60.0", "raytune_edge": "0.2.0"}


@pytest.mark.parametrize(
    "other",
    [{"Python": "3.11.2"}, {"Ray": "2.59.0"}, {"raytune_edge": "0.1.0"}],
    ids=lambda other: next(iter(other)),
)
def test_both_sides_and_the_command_are_named(
    other: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "laptop")
    told = mismatch(HERE, HERE | other, "stickhost")
    assert "Python 3.11.7, Ray 2.60.0, raytune_edge 0.2.0 here on laptop" in told
    ((name, version),) = other.items()
    assert re.search(rf"got .*{name} {re.escape(version)}.* on stickhost", told)
    assert "pip install ray==2.60.0 raytune-edge==0.2.0" in told


def test_equal_versions_are_no_mismatch() -> None:
    assert mismatch(HERE, dict(HERE), "stickhost") == ""
    assert set(versions_here()) == set(HERE)


def test_pythons_patch_version_counts_unless_ray_was_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert mismatch(HERE, HERE | {"Python": "3.11.2"}, "stickhost")
    monkeypatch.setenv("RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL", "minor")
    assert not mismatch(HERE, HERE | {"Python": "3.11.2"}, "stickhost")
    assert mismatch(HERE, HERE | {"Python": "3.12.7"}, "stickhost")
    assert mismatch(HERE, HERE | {"raytune_edge": "0.1.0"}, "stickhost")
