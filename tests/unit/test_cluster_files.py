"""The files in cluster/: Ray's schema, linters, one version everywhere, and no secret in any."""

import copy
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from raytune_edge import __version__

CLUSTER = Path(__file__).parents[2] / "cluster"
YAMLS = sorted(CLUSTER.glob("*.yaml"))
SCRIPTS = sorted(CLUSTER.rglob("*.sh"))
DOCKERFILES = sorted(CLUSTER.rglob("Dockerfile"))
BIN = Path(sys.executable).parent


def names(path: Path) -> str:
    return str(path.relative_to(CLUSTER))


def load(path: Path) -> dict[str, Any]:
    config = yaml.safe_load(path.read_text())
    assert isinstance(config, dict)
    return config


def ran(*command: str | Path, **settings: Any) -> str:
    """What it said, if it failed; "" otherwise."""
    done = subprocess.run(command, capture_output=True, text=True, **settings)
    return done.stdout + done.stderr if done.returncode else ""


@pytest.mark.parametrize("path", YAMLS, ids=names)
def test_ray_accepts_the_cluster(path: Path) -> None:
    validate_config(prepare_config(load(path)))


def test_ray_refuses_what_its_schema_does_not_know() -> None:
    config = load(CLUSTER / "onprem.yaml") | {"idle_time_out": 5}
    with pytest.raises(Exception, match="idle_time_out"):
        validate_config(prepare_config(config))


@pytest.mark.parametrize("path", YAMLS, ids=names)
def test_the_secret_is_a_file_that_travels_and_every_command_asks_for_it(path: Path) -> None:
    config = load(path)
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert not re.search(r"RAY_AUTH_TOKEN=|WANDB_API_KEY=|AWS_SECRET|BEGIN .*KEY", path.read_text())
    (setup,) = config["setup_commands"]
    assert setup.startswith("bash ~/raytune-edge/cluster/node-setup.sh ")
    starts = config["head_start_ray_commands"] + config["worker_start_ray_commands"]
    assert not [command for command in starts if "0.0.0.0" in command or "RAY_AUTH_MODE" in command]
    told = subprocess.check_output(
        ["bash", "-c", f". {CLUSTER}/node-env.sh; echo $RAY_AUTH_MODE"], text=True
    )
    assert told == "token\n"


@pytest.mark.parametrize("path", YAMLS, ids=names)
def test_what_travels_is_in_the_repository(path: Path) -> None:
    mounts = load(path)["file_mounts"].values()
    made = {"dist", "~/.ray/auth_token"}  # `make build`, `ray get-auth-token --generate`
    assert {each for each in mounts if not (CLUSTER.parent / each).exists()} <= made


def test_one_python_and_one_version_everywhere() -> None:
    told = set()
    for path in YAMLS:
        python, version = load(path)["setup_commands"][0].split()[-2:]
        told.add((python, version))
    for path in DOCKERFILES:
        text = path.read_text()
        (python,) = re.findall(r"^FROM python:(3\.1\d\.\d+)-", text, re.M)
        (version,) = re.findall(r"raytune_edge-([\d.]+)-\*\.whl", text)
        told.add((python, version))
    ((python, version),) = told
    assert version == __version__
    constrained = (CLUSTER.parent / "constraints.txt").read_text()
    assert f'python_version == "{python.rpartition(".")[0]}"' in constrained


def test_spots_come_first_and_their_stand_ins_are_the_same_machines() -> None:
    types = copy.deepcopy(load(CLUSTER / "aws-gpu.yaml")["available_node_types"])
    spot, demand = types["trainer-spot"], types["trainer-on-demand"]
    assert spot.pop("priority") > demand.pop("priority")
    assert spot["node_config"].pop("InstanceMarketOptions") == {"MarketType": "spot"}
    assert spot == demand
    assert types["head"]["resources"] == {"CPU": 0}


@pytest.mark.parametrize("path", [*YAMLS, CLUSTER / "local.sh"], ids=names)
def test_its_top_says_what_to_fill_in_and_what_it_costs(path: Path) -> None:
    top = path.read_text().partition("\n\n")[0] + path.read_text()[:2000]
    assert "# FILL IN" in top
    assert "# COSTS" in top


@pytest.mark.parametrize("path", SCRIPTS, ids=names)
def test_shellcheck_finds_nothing(path: Path) -> None:
    assert ran(BIN / "shellcheck", path) == ""


@pytest.mark.parametrize("path", DOCKERFILES, ids=names)
def test_the_dockerfiles_linter_finds_nothing(path: Path) -> None:
    assert ran(BIN / "hadolint", "--no-color", path) == ""


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """Where there is a systemd; its program is looked for on this host, so another stands in."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze: apt install systemd")
    unit = tmp_path / "raytune-edge-ncs.service"
    text = (CLUSTER / "ncs-host" / unit.name).read_text()
    unit.write_text(re.sub(r"(?m)^ExecStart=.*", f"ExecStart={shutil.which('true')}", text))
    assert ran("systemd-analyze", "verify", unit) == ""
    unit.write_text(text.replace("[Service]", "[Service]\nRestrat=always"))
    verify = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, env=os.environ
    )
    assert "Restrat" in verify.stderr


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, "expected the head as host:port"),
        ({"HEAD": "127.0.0.1:1"}, "no Neural Compute Stick 2 is plugged in"),
    ],
    ids=["no head", "no stick"],
)
def test_a_host_that_cannot_join_says_why(environment: dict[str, str], told: str) -> None:
    path = {"PATH": f"{BIN}:{os.environ['PATH']}"}
    assert told in ran(CLUSTER / "ncs-host" / "join.sh", env=path | environment)
