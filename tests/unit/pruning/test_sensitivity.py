"""One group pruned at a time: what is measured, kept, resumed and concluded."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from raytune_edge.counting import count
from raytune_edge.errors import OutputError
from raytune_edge.pruning import (
    Groups,
    Sensitivity,
    SensitivityRow,
    prunable_groups,
    read_sensitivity,
    sensitivity,
)


@dataclass(frozen=True)
class Accuracy:
    top1: float
    top5: float = 1.0
    loss: float = 0.1


class Judge:
    """Gives the share of the parameters as accuracy, and more after `recalibrate`."""

    def __init__(self) -> None:
        self.calls = 0
        self.recalibrated: set[int] = set()

    def evaluate(self, model: nn.Module) -> Accuracy:
        self.calls += 1
        share = sum(each.numel() for each in model.parameters()) / 30_000
        return Accuracy(top1=share + 0.1 * (id(model) in self.recalibrated))

    def recalibrate(self, model: nn.Module) -> None:
        self.recalibrated.add(id(model))


@pytest.fixture
def judge() -> Judge:
    return Judge()


@pytest.fixture
def groups(network: nn.Module, example: torch.Tensor) -> Groups:
    found = prunable_groups(network, example)
    return Groups(group for group in found if group.name in ("left.0", "grouped.0"))


@pytest.fixture
def analyse(
    network: nn.Module, example: torch.Tensor, groups: Groups, judge: Judge
) -> Callable[..., Sensitivity]:
    def run(levels: list[float], **options: object) -> Sensitivity:
        return sensitivity(network, groups, levels, judge.evaluate, example=example, **options)

    return run


def test_each_group_is_pruned_to_each_level(
    analyse: Callable[..., Sensitivity],
    judge: Judge,
    network: nn.Module,
    example: torch.Tensor,
) -> None:
    found = analyse([0.5, 0.25], recalibrate=judge.recalibrate)
    assert [(row.group, row.level, row.channels, row.kept) for row in found.rows] == [
        ("grouped.0", 0.25, 32, 24),
        ("grouped.0", 0.5, 32, 16),
        ("left.0", 0.25, 8, 6),
        ("left.0", 0.5, 8, 4),
    ]
    assert found.baseline.macs_ratio == 1
    removed = 2 * 8 * 8 * (32 * 9 + 16 * 9)  # of left.0, and of after.0 that reads it
    assert found.rows[2].macs_ratio == pytest.approx(1 - removed / count(network, example).macs)
    assert found.rows[0].top1 == pytest.approx(found.rows[0].top1_before + 0.1)


def test_levels_that_keep_as_many_channels_are_measured_once(
    analyse: Callable[..., Sensitivity],
) -> None:
    found = analyse([0.01, 0.5, 0.51])
    left = [(row.level, row.kept) for row in found.rows if row.group == "left.0"]
    assert left == [(0.5, 4)]


def test_without_recalibration_the_network_is_evaluated_once(
    analyse: Callable[..., Sensitivity], judge: Judge
) -> None:
    found = analyse([0.5])
    assert judge.calls == 3
    assert all(row.top1 == row.top1_before for row in found.rows)


def test_it_goes_on_from_its_file(
    analyse: Callable[..., Sensitivity], judge: Judge, tmp_path: Path
) -> None:
    path = tmp_path / "new" / "sensitivity.csv"
    whole = analyse([0.25, 0.5], csv_file=path)
    assert judge.calls == 5
    lines = path.read_text().splitlines()
    assert lines[0].startswith("network,group,level,channels,kept,macs_ratio,top1_before")
    path.write_text("\n".join(lines[:3]) + "\n" + lines[3][:25])  # killed while writing
    assert analyse([0.25, 0.5], csv_file=path) == whole
    assert judge.calls == 5 + 3
    assert read_sensitivity(path) == whole
    assert analyse([0.25], csv_file=path).rows == (whole.rows[0], whole.rows[2])
    assert judge.calls == 5 + 3


def test_rows_are_kept_as_they_come(analyse: Callable[..., Sensitivity], tmp_path: Path) -> None:
    path = tmp_path / "sensitivity.csv"

    def run_two(function: Callable[..., SensitivityRow], jobs: list[object]) -> object:
        yield function(jobs[-1])
        yield function(jobs[0])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        analyse([0.5], csv_file=path, run=run_two)
    assert [line.split(",")[1] for line in path.read_text().splitlines()[1:]] == [
        "left.0",
        "(unpruned)",
    ]


def test_a_file_of_another_network_is_refused(
    analyse: Callable[..., Sensitivity], network: nn.Module, tmp_path: Path
) -> None:
    path = tmp_path / "sensitivity.csv"
    analyse([0.5], csv_file=path)
    before = path.read_text()
    network.stem[0].weight.data[0, 0, 0, 0] += 1
    with pytest.raises(ValueError, match="another network, criterion or kind"):
        analyse([0.5], csv_file=path)
    assert path.read_text() == before


def test_a_file_that_cannot_be_written_is_told(
    analyse: Callable[..., Sensitivity], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"can't be kept in .*file/sensitivity\.csv"):
        analyse([0.5], csv_file=tmp_path / "file" / "sensitivity.csv")


def test_a_file_without_the_baseline_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no finished sensitivity analysis"):
        read_sensitivity(tmp_path / "none.csv")


def row(group: str, level: float, top1: float, macs_ratio: float = 0.9) -> SensitivityRow:
    return SensitivityRow(
        network="n", group=group, level=level, channels=16, kept=8, macs_ratio=macs_ratio,
        top1_before=0.1, top5_before=0.1, loss_before=3.0, top1=top1, top5=1.0, loss=0.1,
    )  # fmt: skip


def test_bounds_end_where_accuracy_falls_and_leave_out_what_does_not_pay() -> None:
    found = Sensitivity(
        baseline=row("(unpruned)", 0.0, 0.9),
        rows=(
            row("robust", 0.25, 0.9), row("robust", 0.5, 0.8), row("robust", 0.75, 0.71),
            row("late", 0.25, 0.85), row("late", 0.5, 0.6), row("late", 0.75, 0.88),
            row("fragile", 0.25, 0.3),
            row("cheap", 0.25, 0.9, macs_ratio=0.999), row("cheap", 0.5, 0.9, macs_ratio=0.998),
        ),
    )  # fmt: skip
    assert found.bounds(max_drop=0.2) == {"robust": 0.75, "late": 0.25}
    assert found.bounds(max_drop=0.1) == {"robust": 0.5, "late": 0.25}
    assert found.bounds(max_drop=0.2, min_saving=0.0)["cheap"] == 0.5
