"""CIFAR-10 in its own file format, and folders of images; both filled with the digits."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torchvision import datasets

from raytune_edge.errors import TaskError
from raytune_edge.tasks import cifar10_resnet20, cifar_resnet, image_folder


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """The digits as pictures (N, 32, 32, 3) of bytes, and their labels."""
    data = load_digits()
    large = np.kron(data.images * 15, np.ones((4, 4))).astype(np.uint8)
    return np.repeat(large[..., None], 3, axis=-1), data.target


@pytest.fixture
def cifar_folder(
    digits: tuple[np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """CIFAR-10's files as torchvision expects them, each sum checked as with the real ones."""
    images, labels = digits
    folder = tmp_path / datasets.CIFAR10.base_folder
    folder.mkdir()

    def write(name: str, content: object) -> str:
        (folder / name).write_bytes(pickle.dumps(content))
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    def batch(rows: slice) -> dict[str, object]:
        return {
            "data": images[rows].transpose(0, 3, 1, 2).reshape(-1, 3072),
            "labels": labels[rows].tolist(),
        }

    train = [
        [f"data_batch_{n}", write(f"data_batch_{n}", batch(slice(n * 200, n * 200 + 200)))]
        for n in range(5)
    ]
    test = [["test_batch", write("test_batch", batch(slice(1000, 1200)))]]
    names = {"label_names": [str(n) for n in range(10)]}
    meta = {**datasets.CIFAR10.meta, "md5": write("batches.meta", names)}
    monkeypatch.setattr(datasets.CIFAR10, "train_list", train)
    monkeypatch.setattr(datasets.CIFAR10, "test_list", test)
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)
    return tmp_path


def test_cifar10_is_read_split_and_its_weights_loaded(cifar_folder: Path, tmp_path: Path) -> None:
    network = cifar_resnet(20)
    torch.save({"state_dict": network.state_dict()}, tmp_path / "weights.pt")
    task = cifar10_resnet20(folder=cifar_folder, weights=tmp_path / "weights.pt")
    loaders = task.loaders()
    sizes = [
        sum(len(labels) for _, labels in part)
        for part in (loaders.train, loaders.validation, loaders.test)
    ]
    assert sizes == [900, 100, 200]
    assert torch.equal(task.baseline().state_dict()["fc.weight"], network.fc.weight)
    assert len(task.labels) == 10


def test_weights_of_another_network_are_refused(cifar_folder: Path, tmp_path: Path) -> None:
    torch.save(cifar_resnet(56).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(TaskError, match="holds no weights for this network"):
        cifar10_resnet20(folder=cifar_folder, weights=tmp_path / "weights.pt")


@pytest.fixture
def picture_folder(digits: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> Path:
    images, labels = digits
    for part, rows in (
        ("train", range(60)),
        ("validation", range(60, 90)),
        ("test", range(90, 120)),
    ):
        for row in rows:
            folder = tmp_path / part / f"digit_{labels[row]}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[row]).save(folder / f"{row}.png")
    return tmp_path


def test_a_folder_of_pictures_becomes_a_task(
    picture_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYTUNE_EDGE_CACHE", str(picture_folder / "cache"))
    task = image_folder(picture_folder, "squeezenet1_1", epochs=1, image_size=64)
    assert task.labels == tuple(f"digit_{n}" for n in range(10))
    images, labels = next(iter(task.loaders().validation))
    assert images.shape[1:] == (3, 64, 64)
    assert labels.max() < 10


def test_what_is_wrong_with_a_folder_is_told(picture_folder: Path) -> None:
    with pytest.raises(TaskError, match="squeezenet1_1"):
        image_folder(picture_folder, "squeezenet")
    with pytest.raises(TaskError, match="expected the folders"):
        image_folder(picture_folder / "train", "alexnet")
    (picture_folder / "test" / "letter_a").mkdir()
    with pytest.raises(TaskError, match="the classes differ"):
        image_folder(picture_folder, "alexnet")
