"""The files in cluster/: Ray's schema, linters, one version everywhere, and no secret in any."""

import ast
import copy
import importlib.metadata
import itertools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.constants import AUTOSCALER_UTILIZATION_SCORER_KEY
from ray.autoscaler._private.node_provider_availability_tracker import (
    NodeProviderAvailabilityTracker,
)
from ray.autoscaler._private.resource_demand_scheduler import ResourceDemandScheduler
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.node_launch_exception import NodeLaunchException

import raytune_edge
from raytune_edge import __version__

CLUSTER = Path(__file__).parents[2] / "cluster"
YAMLS = sorted(CLUSTER.glob("*.yaml"))
SCRIPTS = sorted(CLUSTER.rglob("*.sh"))
DOCKERFILES = sorted(CLUSTER.rglob("Dockerfile"))
UNITS = sorted(CLUSTER.rglob("*.service"))
BIN = Path(sys.executable).parent
PACKAGE = Path(raytune_edge.__file__).parent
OF_THE_CHILD = {path.stem for path in (PACKAGE / "runtimes" / "worker").glob("*.py")}
"""Its files import each other by these names."""


def imports_of(path: Path) -> set[str]:
    """Dotted names that a file imports, TYPE_CHECKING blocks left out."""
    found: set[str] = set()
    todo: list[ast.AST] = [ast.parse(path.read_text())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        todo.extend(ast.iter_child_nodes(node))
    return found


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
    for page in (CLUSTER.parent / "docs").rglob("*.md"):
        told |= set(re.findall(r"node-setup.sh --device-host (\S+) (\S+)", page.read_text()))
    ((python, version),) = told
    assert version == __version__
    constrained = (CLUSTER.parent / "constraints.txt").read_text()
    assert f'python_version == "{python.rpartition(".")[0]}"' in constrained


def test_spots_and_their_stand_ins_are_the_same_machines() -> None:
    types = copy.deepcopy(load(CLUSTER / "aws-gpu.yaml")["available_node_types"])
    spot, demand = types["trainer-spot"], types["trainer-on-demand"]
    assert spot["node_config"].pop("InstanceMarketOptions") == {"MarketType": "spot"}
    assert spot == demand
    assert types["head"]["resources"] == {"CPU": 0}
    assert "IamInstanceProfile" in demand["node_config"]  # Ray lets the head alone into a bucket


@pytest.mark.parametrize(
    ("refused", "asked"),
    [
        ({}, "trainer-spot"),
        ({"trainer-spot": 1000}, "trainer-on-demand"),
        ({"trainer-spot": 1000, "trainer-on-demand": 1010}, "trainer-spot"),
        ({"trainer-spot": 1010, "trainer-on-demand": 1000}, "trainer-on-demand"),
        ({"trainer-spot": 1000 - 31 * 60}, "trainer-spot"),
    ],
    ids=["at first", "no spot", "neither: in turns", "and the other's turn", "half an hour later"],
)
def test_where_aws_has_no_spot_it_is_asked_for_one_on_demand(
    refused: dict[str, int], asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's own scheduler, with what the head of aws-gpu.yaml is started with."""
    config = prepare_config(load(CLUSTER / "aws-gpu.yaml"))
    (start,) = (each for each in config["head_start_ray_commands"] if "ray start" in each)
    told = dict(re.findall(r"\b(\w+)=(\S+?);?\s", start.partition("ray start")[0]))
    assert told["RAY_enable_autoscaler_v2"] == "0"
    assert told["PYTHONPATH"] == "$HOME/raytune-edge/cluster"
    monkeypatch.syspath_prepend(CLUSTER)
    monkeypatch.setenv(AUTOSCALER_UTILIZATION_SCORER_KEY, told[AUTOSCALER_UTILIZATION_SCORER_KEY])
    types = config["available_node_types"]
    scheduler = ResourceDemandScheduler(None, types, config["max_workers"], "head", 1.0)
    tracker = NodeProviderAvailabilityTracker(timer=lambda: 1020.0)
    for name, when in refused.items():
        error = NodeLaunchException("InsufficientInstanceCapacity", "none left", None)
        tracker.update_node_availability(name, when, error)
    for name in set(types) - set(refused):
        tracker.update_node_availability(name, 1000, None)
    launched, _ = scheduler.get_nodes_to_launch(
        [], {}, [{"CPU": 1.0, "GPU": 1.0}], {}, [], {}, [], tracker.summary()
    )
    assert launched == {"head": 1, asked: 1}


@pytest.mark.parametrize(
    "path",
    sorted({*YAMLS, *SCRIPTS, *UNITS, *DOCKERFILES} - {CLUSTER / "node-env.sh"}),
    ids=names,
)
def test_its_top_says_what_to_fill_in_and_what_it_costs(path: Path) -> None:
    lines = path.read_text().splitlines()
    top = list(itertools.takewhile(lambda line: line.startswith("#"), lines))
    for title in ("# FILL IN ", "# COSTS "):
        assert [line for line in top if line.startswith(title)]


@pytest.mark.parametrize("path", SCRIPTS, ids=names)
def test_shellcheck_finds_nothing(path: Path) -> None:
    assert ran(BIN / "shellcheck", path) == ""


@pytest.mark.parametrize("path", DOCKERFILES, ids=names)
def test_the_dockerfiles_linter_finds_nothing(path: Path) -> None:
    assert ran(BIN / "hadolint", "--no-color", path) == ""


@pytest.mark.parametrize("path", UNITS, ids=names)
def test_systemd_accepts_the_unit(path: Path, tmp_path: Path) -> None:
    """Where there is a systemd; its program is looked for on this host, so another stands in."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze: apt install systemd")
    unit = tmp_path / path.name
    text = path.read_text()
    unit.write_text(re.sub(r"(?m)^(Exec\w+=)\S+", rf"\1{shutil.which('true')}", text))
    assert ran("systemd-analyze", "verify", unit) == ""
    unit.write_text(text.replace("[Service]", "[Service]\nRestrat=always"))
    verify = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, env=os.environ
    )
    assert "Restrat" in verify.stderr


@pytest.mark.parametrize("path", UNITS, ids=names)
def test_a_unit_is_there_for_good_and_asks_no_new_systemd(path: Path) -> None:
    """Debian 11 has 247, where a credential's folder is in the environment only."""
    text = path.read_text()
    lines = text.splitlines()
    assert "WantedBy=multi-user.target" in lines
    assert "Type=oneshot" in lines or {"Restart=always", "StartLimitIntervalSec=0"} <= set(lines)
    assert "%d" not in text


def test_what_the_host_of_a_device_imports_is_what_it_installs() -> None:
    """All that doctor, actor and measuring child may import, also within their functions."""
    todo = {"doctor", "devices", "runtimes", "runtimes.worker.modern", "ncs2.checking"}
    seen: set[str] = set()
    others: set[str] = set()
    while todo:
        module = todo.pop()
        seen.add(module)
        base = PACKAGE.joinpath(*module.split("."))
        path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        if not path.exists():
            continue  # a name, no module
        for name in imports_of(path):
            package, _, rest = name.partition(".")
            if package != PACKAGE.name:
                others.add(package)
            elif rest and rest not in seen:
                todo.add(rest)
    listed = (CLUSTER / "ncs-host" / "requirements.txt").read_text()
    required = set(re.findall(r"^(\w+)$", listed, re.M))
    assert others - sys.stdlib_module_names - {"google"} - OF_THE_CHILD == required
    assert "protobuf" in " ".join(importlib.metadata.requires("onnx") or [])  # google.protobuf
