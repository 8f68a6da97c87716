"""When two nodes' versions disagree, and what the message tells."""

import re

import pytest
import ray

from raytune_edge.devices import versions
from raytune_edge.devices.versions import mismatch, versions_here

LEVEL = "RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL"
HERE = {"Python": "3.11.7", "Ray": "2.60.0", "raytune_edge": "0.2.0"}


@pytest.mark.parametrize(
    ("other", "mend"),
    [
        ({"Python": "3.11.2"}, "cluster/node-setup.sh 3.11.7 0.2.0"),
        ({"Ray": "2.59.0"}, "pip install ray==2.60.0"),
        (
            {"raytune_edge": "0.1.0"},
            "pip install --no-deps dist/raytune_edge-0.2.0-py3-none-any.whl",
        ),
    ],
    ids=["Python", "Ray", "raytune_edge"],
)
def test_both_sides_and_the_command_are_named(
    other: dict[str, str], mend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "laptop")
    told = mismatch(HERE, HERE | other, "stickhost")
    assert "Python 3.11.7, Ray 2.60.0, raytune_edge 0.2.0 here on laptop" in told
    ((name, version),) = other.items()
    assert re.search(rf"got .*{name} {re.escape(version)}.* on stickhost", told)
    assert f"on stickhost run\n    {mend}  # then start its node again" in told


def test_equal_versions_are_no_mismatch() -> None:
    assert mismatch(HERE, dict(HERE), "stickhost") == ""
    assert set(versions_here()) == set(HERE)


def test_pythons_patch_version_counts_unless_ray_was_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert mismatch(HERE, HERE | {"Python": "3.11.2"}, "stickhost")
    monkeypatch.setenv(LEVEL, "minor")
    assert not mismatch(HERE, HERE | {"Python": "3.11.2"}, "stickhost")
    assert mismatch(HERE, HERE | {"Python": "3.12.7"}, "stickhost")
    assert mismatch(HERE, HERE | {"raytune_edge": "0.1.0"}, "stickhost")


def test_what_ray_was_told_on_the_other_node_counts_as_well() -> None:
    there = HERE | {"Python": "3.11.2"}
    assert mismatch(HERE, there | {LEVEL: ""}, "stickhost")
    assert not mismatch(HERE, there | {LEVEL: "minor"}, "stickhost")


def test_a_node_that_does_not_answer_is_not_asked_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    nodes = [
        {"NodeID": each, "NodeManagerHostname": f"{each}-host", "Alive": True}
        for each in ("quick", "silent")
    ]
    cancelled = []
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    monkeypatch.setattr(ray, "wait", lambda asked, **_: (asked[:1], asked[1:]))
    monkeypatch.setattr(ray, "get", lambda _: versions_here())
    monkeypatch.setattr(ray, "cancel", lambda task, *, force: cancelled.append((task, force)))
    monkeypatch.setattr(versions, "versions_on", lambda node_id: node_id)
    versions.check_nodes()
    assert cancelled == [("silent", True)]
    assert "silent-host did not tell its versions" in caplog.text
