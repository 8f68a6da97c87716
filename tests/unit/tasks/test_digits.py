"""The digits: a fixed, stratified split, and a baseline that is kept."""

from pathlib import Path

import pytest
import torch
from torch import nn

from raytune_edge.config import Retrain
from raytune_edge.tasks.baseline import trained
from raytune_edge.tasks.digits import digits_loaders
from raytune_edge.tasks.resnet import cifar_resnet


def everything(batches: object) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = zip(*batches, strict=True)  # type: ignore[call-overload]
    return torch.cat(images), torch.cat(labels)


def test_the_split_is_stratified_fixed_and_disjoint() -> None:
    first, second = digits_loaders(), digits_loaders()
    parts = {name: everything(getattr(first, name)) for name in ("train", "validation", "test")}
    assert [len(labels) for _, labels in parts.values()] == [1077, 360, 360]
    for images, labels in parts.values():
        assert images.shape[1:] == (3, 32, 32)
        assert images.min() >= -1
        assert images.max() <= 1
        assert labels.bincount(minlength=10).float().div(len(labels)).sub(0.1).abs().max() < 0.01
    assert torch.equal(parts["test"][0], everything(second.test)[0])
    rows = torch.cat([images.flatten(1) for images, _ in parts.values()])
    assert len(rows.unique(dim=0)) == 1797


@pytest.mark.parametrize(("depth", "params"), [(20, 272_474), (56, 855_770)])
def test_the_cifar_resnets_have_the_published_size(depth: int, params: int) -> None:
    model = cifar_resnet(depth)
    assert sum(each.numel() for each in model.parameters()) == pytest.approx(params, rel=0.005)
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)


def test_a_depth_that_is_not_in_the_family_is_refused() -> None:
    with pytest.raises(ValueError, match=r"6 n \+ 2 .* got 21"):
        cifar_resnet(21)


class Counting:
    """A model factory that counts its trainings by the loaders it is asked for."""

    def __init__(self) -> None:
        self.trainings = 0

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))

    def loaders(self) -> object:
        self.trainings += 1
        return digits_loaders()


def test_a_baseline_is_trained_once_for_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYTUNE_EDGE_CACHE", str(tmp_path))
    counting, settings = Counting(), Retrain(epochs=1, lr=0.01)
    first = trained("linear", counting.model, counting.loaders, settings)
    again = trained("linear", counting.model, counting.loaders, settings)
    assert counting.trainings == 1
    assert torch.equal(first[1].weight, again[1].weight)
    trained("linear", counting.model, counting.loaders, Retrain(epochs=2, lr=0.01))
    assert counting.trainings == 2


def test_a_damaged_baseline_is_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYTUNE_EDGE_CACHE", str(tmp_path))
    counting, settings = Counting(), Retrain(epochs=1, lr=0.01)
    first = trained("linear", counting.model, counting.loaders, settings)
    (path,) = tmp_path.rglob("*.pt")
    path.write_bytes(path.read_bytes()[:100])
    again = trained("linear", counting.model, counting.loaders, settings)
    assert counting.trainings == 2
    assert torch.equal(first[1].weight, again[1].weight)
