"""Training, recalibration and evaluation as plain functions."""

import copy
import itertools
import math

import pytest
import torch
from torch import nn

from raytune_edge.config import Retrain
from raytune_edge.training import (
    Accuracy,
    Teacher,
    evaluate,
    fine_tune,
    has_collapsed,
    recalibrate,
)

Data = list[tuple[torch.Tensor, torch.Tensor]]


@pytest.fixture
def data() -> Data:
    """Four batches of two-class images that a line can tell apart, shifted off zero."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(64, 3, 8, 8, generator=generator) + 3
    labels = (images.mean((1, 2, 3)) > 3).long()
    return list(zip(images.split(16), labels.split(16), strict=True))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2)
    )


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([value.float().flatten() for value in model.state_dict().values()])


@pytest.mark.parametrize("schedule", ["onecycle", "cosine"])
def test_training_lowers_the_loss(data: Data, schedule: str) -> None:
    settings = Retrain(epochs=5, schedule=schedule)  # type: ignore[arg-type]
    epochs = list(fine_tune(network(), data, settings))
    assert [epoch.number for epoch in epochs] == [1, 2, 3, 4, 5]
    assert epochs[-1].loss < epochs[0].loss / 2


def test_the_same_seed_gives_the_same_weights_and_another_seed_does_not() -> None:
    images, labels = torch.randn(64, 3, 8, 8), torch.arange(64) % 2

    def run(seed: int) -> torch.Tensor:
        model = network()
        loader = torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(images, labels), batch_size=16, shuffle=True
        )
        list(fine_tune(model, loader, Retrain(epochs=2), seed=seed))
        return weights(model)

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


@pytest.mark.parametrize("schedule", ["onecycle", "cosine"])
def test_a_resumed_run_ends_where_an_unbroken_one_does(data: Data, schedule: str) -> None:
    settings = Retrain(epochs=4, schedule=schedule)  # type: ignore[arg-type]
    unbroken = network()
    list(fine_tune(unbroken, data, settings))

    model = network()
    second = list(itertools.islice(fine_tune(model, data, settings), 2))[-1]
    other = network()
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    rest = list(fine_tune(other, data, settings, resume=copy.deepcopy(second.state)))
    assert [epoch.number for epoch in rest] == [3, 4]
    assert torch.equal(weights(other), weights(unbroken))


def test_an_interrupt_ends_training_within_the_epoch(data: Data) -> None:
    answers = iter([False, False, True])
    epochs = list(fine_tune(network(), data, Retrain(epochs=3), interrupt=lambda: next(answers)))
    assert [epoch.finished for epoch in epochs] == [False]


def test_no_epochs_leave_the_model_as_it_is(data: Data) -> None:
    model = network()
    before = weights(model)
    assert list(fine_tune(model, data, Retrain(epochs=0))) == []
    assert torch.equal(before, weights(model))


def test_recalibration_takes_the_statistics_of_the_data(data: Data) -> None:
    model = nn.Sequential(nn.BatchNorm2d(3)).eval()
    model.weight = nn.Parameter(torch.zeros(1))  # gives the model a device
    recalibrate(model, data, count=4)
    images = torch.cat([images for images, _ in data])
    assert torch.allclose(model[0].running_mean, images.mean((0, 2, 3)), atol=1e-5)
    assert not model.training


def test_accuracy_against_a_count_by_hand() -> None:
    logits = torch.tensor([[3.0, 2, 1, 0, -1, -2], [0, 1, 2, 3, 4, 5], [5, 0, 0, 0, 0, 9.0]])
    labels = torch.tensor([0, 0, 0])

    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return logits[x[:, 0, 0, 0].long()]

    images = torch.arange(3.0).reshape(3, 1, 1, 1)
    accuracy = evaluate(Constant().train(), [(images[:2], labels[:2]), (images[2:], labels[2:])])
    assert accuracy.top1 == pytest.approx(1 / 3)
    assert accuracy.top5 == pytest.approx(2 / 3)
    assert accuracy.loss == pytest.approx(nn.functional.cross_entropy(logits, labels).item())


@pytest.mark.parametrize(
    ("top1", "loss", "collapsed"),
    [(0.10, 2.3, True), (0.12, 2.3, True), (0.30, 2.3, False), (0.99, math.nan, True)],
)
def test_chance_level_is_a_collapse(top1: float, loss: float, collapsed: bool) -> None:
    accuracy = Accuracy(top1=top1, top5=0.5, loss=loss, samples=360)
    assert has_collapsed(accuracy, num_classes=10) is collapsed


def test_a_teacher_answers_like_its_model_and_asks_it_once(data: Data) -> None:
    calls = []
    model = network().eval()
    model.register_forward_hook(lambda *_: calls.append(1))
    teacher = Teacher(model)
    images = data[0][0]
    first, again = teacher(images), teacher(images.flip(0)).flip(0)
    assert len(calls) == 1
    assert torch.equal(first, again)
    assert torch.allclose(first, model(images))


def test_distillation_alone_makes_a_student_agree_with_its_teacher(data: Data) -> None:
    teacher = network()
    list(fine_tune(teacher, data, Retrain(epochs=5)))
    recalibrate(teacher, data, count=4)
    wrong = [(images, 1 - labels) for images, labels in data]

    def accuracy_of_student(distill: float) -> float:
        student = network()
        settings = Retrain(epochs=10, distill=distill)
        list(fine_tune(student, wrong, settings, teacher=Teacher(teacher)))
        recalibrate(student, data, count=4)
        return evaluate(student, data).top1

    assert accuracy_of_student(1.0) > 0.9
    assert accuracy_of_student(0.0) < 0.1
