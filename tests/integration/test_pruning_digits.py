"""Pruning on real data: accuracy comes back, and each group's sensitivity is found on Ray."""

import functools
from pathlib import Path

import pytest

from raytune_edge import training
from raytune_edge.config import Retrain
from raytune_edge.parallel import ray_map
from raytune_edge.pruning import Groups, plan, prunable_groups, prune, sensitivity
from raytune_edge.task import Task
from raytune_edge.tasks import digits_resnet20

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def task() -> Task:
    return digits_resnet20()


@pytest.mark.parametrize(("criterion", "kind"), [("l2", "filters"), ("l1", "channels")])
def test_half_of_resnet20_learns_the_digits_in_two_epochs(
    task: Task, criterion: str, kind: str
) -> None:
    baseline, example, loaders = task.baseline(), task.example(), task.loaders()
    groups = prunable_groups(baseline, example)
    made = plan(groups, {group.name: 0.5 for group in groups})
    pruned = prune(baseline, example, made, criterion=criterion, kind=kind)
    training.recalibrate(pruned, loaders.train, 20)
    for _ in training.fine_tune(pruned, loaders.train, Retrain(epochs=2)):
        pass
    training.recalibrate(pruned, loaders.train, 20)

    def top1(model: object) -> float:
        return sum(
            training.evaluate(model, data).top1 / 2 for data in (loaders.validation, loaders.test)
        )

    assert top1(pruned) >= top1(baseline) - 0.02


def test_sensitivity_as_ray_tasks_is_that_of_one_process(
    task: Task, tmp_path: Path, ray_cluster: None
) -> None:
    baseline, example, loaders = task.baseline(), task.example(), task.loaders()
    groups = prunable_groups(baseline, example)
    residual = Groups(group for group in groups if group.residual)
    analyse = functools.partial(
        sensitivity,
        baseline,
        residual,
        [0.5],
        functools.partial(training.evaluate, batches=loaders.validation),
        example=example,
        recalibrate=functools.partial(training.recalibrate, batches=loaders.train, count=10),
    )
    by_ray = analyse(csv_file=tmp_path / "sensitivity.csv", run=ray_map)
    here = analyse()
    assert [row.group for row in by_ray.rows] == ["conv1", "layer2.0.conv2", "layer3.0.conv2"]
    for one, other in zip(by_ray.rows, here.rows, strict=True):
        assert one.top1 == pytest.approx(other.top1, abs=0.01)
    # Raw figures mislead: these groups fall to bits, and stand once BatchNorm is recalibrated.
    assert all(row.top1_before < 0.6 < 0.9 < row.top1 for row in by_ray.rows)
