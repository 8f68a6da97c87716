"""Make a network of your own as fast as it gets at an accuracy that you name.

    python examples/bring_your_own_model.py [--trials 12] [--folder runs/own]

`DigitsNet`, `load_data` and `load_network` stand for yours; the rest can stay as it is. Measures on
this machine's CPU, takes minutes, and downloads nothing.
"""

import argparse
import logging
import os
from pathlib import Path

# Ray reads these when it is imported: no banners, and no advice about small, frequent checkpoints.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")

import ray
import torch
from ray import tune
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.hyperopt import HyperOptSearch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import raytune_edge as rte
from raytune_edge.analysis import best_trial, prepare_folder
from raytune_edge.training import evaluate


class DigitsNet(nn.Module):
    """Logits (N, 10) of grey images (N, 1, 16, 16)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(32)
        self.conv3 = nn.Conv2d(32, 64, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(64)
        self.fc = nn.Linear(64, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(images)))
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        x = F.relu(self.bn3(self.conv3(x)))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


def load_data() -> rte.Loaders:
    """Three parts: to train on, to choose by, and to test what was chosen. Called in each trial."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    images = F.interpolate(images, size=(16, 16), mode="bilinear")
    parts = TensorDataset(images, torch.tensor(digits.target))
    train, validation, test = torch.utils.data.random_split(
        parts, [0.6, 0.2, 0.2], generator=torch.Generator().manual_seed(0)
    )
    return rte.Loaders(
        train=DataLoader(train, batch_size=64, shuffle=True),
        validation=DataLoader(validation, batch_size=256),
        test=DataLoader(test, batch_size=256),
    )


def load_network() -> nn.Module:
    """The network as you trained it. Called once, on this machine; yours may read a file:

    network.load_state_dict(torch.load("digits.pt", weights_only=True))
    """
    torch.manual_seed(0)
    network, batches = DigitsNet(), load_data().train
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    for _ in range(8):
        for images, labels in batches:
            optimizer.zero_grad()
            F.cross_entropy(network(images), labels).backward()
            optimizer.step()
    return network


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=12, help="networks to try (12)")
    parser.add_argument("--epochs", type=int, default=4, help="epochs of retraining (4)")
    parser.add_argument("--folder", type=Path, default=Path("runs/own"))
    parser.add_argument("--smoke-test", action="store_true", help="three trials of one epoch")
    arguments = parser.parse_args()
    if arguments.smoke_test:
        arguments.trials, arguments.epochs = 3, 1
    return arguments


def main() -> None:
    arguments = parse_arguments()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    folder = prepare_folder(arguments.folder.resolve())

    task = rte.Task(
        model=load_network,
        loaders=load_data,
        input_shape=(1, 1, 16, 16),
        num_classes=10,
        name="own",
        labels=tuple("0123456789"),
    )
    ray.init(
        address="local",
        resources={"ncs": 1},
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    devices = rte.connect_devices("CPU", resource="ncs")

    # As fast as possible, at a hundredth less accuracy than now; or the other way round, with
    # rte.Objective(maximize="top1", latency_budget_ms=...).
    unpruned = evaluate(task.baseline(), task.loaders().validation)
    recipe = rte.Recipe(
        task=task,
        retrain=rte.Retrain(epochs=arguments.epochs),  # or training_loop=yours: docs/retraining.md
        objective=rte.Objective(minimize="latency_p50_ms", top1_floor=unpruned.top1 - 0.01),
        timing=rte.Timing(precision="f32"),
    )
    space = rte.search_space(recipe)
    search = HyperOptSearch(points_to_evaluate=[rte.unpruned_point(space)], random_state_seed=0)
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(rte.prune_and_retrain, recipe=recipe, devices=devices), {"cpu": 1}
        ),
        param_space=space,
        tune_config=tune.TuneConfig(
            metric="score",
            mode="max",
            num_samples=arguments.trials,
            reuse_actors=True,
            search_alg=ConcurrencyLimiter(search, max_concurrent=2),
        ),
        run_config=tune.RunConfig(
            name="own",
            storage_path=str(folder / "tune"),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
            callbacks=[
                rte.ProgressCallback(devices=devices),
                rte.WandbCallback(project="raytune_edge", dir=str(folder)),
            ],
        ),
    )
    results = tuner.fit()
    devices.close()

    print(rte.front_table(results))
    written = rte.write_results(results, folder)
    if (best := best_trial(results)) is not None:
        bundle = rte.export_bundle(best, folder / "bundle", task=task)
        print(f"to deploy: {bundle} (python {bundle}/run.py IMAGE)")
    print(f"to look at: {written.report}")
    print(f"results: {folder}")


if __name__ == "__main__":
    main()
