"""A search that the test kills and restores: ``FOLDER``. Real trials, a fake device, a store.

Each trial's process appends its id, and the epoch that it begins with, to ``FOLDER/begun``.
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S"] = "0"

import ray
import torch
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import ConcurrencyLimiter
from torch import nn

import raytune_edge as rte
from raytune_edge.testing import FakeDevice
from raytune_edge.training import Epoch, fine_tune

TRIALS, EPOCHS = 10, 3


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4),
    )  # fmt: skip


def quadrants() -> rte.Loaders:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(256) % 4
    images = torch.randn(256, 1, 8, 8, generator=generator) * 0.1 + labels.view(-1, 1, 1, 1)
    batches = list(zip(images.split(16), labels.split(16), strict=True))
    return rte.Loaders(train=batches[:12], validation=batches[12:14], test=batches[14:])


def main(folder: Path) -> None:
    def loop(*arguments: Any, resume: Any, **settings: Any) -> Iterator[Epoch]:
        import time

        line = {"trial": tune.get_context().get_trial_id(), "after": (resume or {}).get("epoch", 0)}
        with (folder / "begun").open("a") as file:
            file.write(json.dumps(line) + "\n")
        for epoch in fine_tune(*arguments, resume=resume, **settings):
            time.sleep(0.2)
            yield epoch

    ray.init(
        address="local", num_cpus=2, resources={"ncs": 1}, include_dashboard=False,
        log_to_driver=False, configure_logging=False,
    )  # fmt: skip
    devices = rte.connect_devices(FakeDevice(latency_ms=0.5), store=folder / "store")
    task = rte.Task(model=network, loaders=quadrants, input_shape=(1, 1, 8, 8), num_classes=4)
    recipe = rte.Recipe(
        task=task,
        retrain=rte.Retrain(epochs=EPOCHS),
        objective=rte.Objective(maximize="top1", minimize="latency_p50_ms"),
        training_loop=loop,
    )
    trainable = tune.with_resources(
        tune.with_parameters(rte.prune_and_retrain, recipe=recipe, devices=devices), {"cpu": 1}
    )
    experiment = folder / "tune" / "killed"
    if tune.Tuner.can_restore(str(experiment)):
        tuner = tune.Tuner.restore(
            str(experiment), trainable, resume_unfinished=True, resume_errored=True
        )
    else:
        search = rte.FrontSearch(
            recipe,
            stored=rte.StoredLatencies(recipe, folder / "store", devices),
            random_state_seed=0,
            n_initial_points=4,
        )
        tuner = tune.Tuner(
            trainable,
            param_space=rte.search_space(recipe),
            tune_config=tune.TuneConfig(
                metric="score",
                mode="max",
                num_samples=TRIALS,
                reuse_actors=True,
                scheduler=ASHAScheduler(time_attr="epoch", max_t=100, grace_period=2),
                search_alg=ConcurrencyLimiter(search, max_concurrent=2),
            ),
            run_config=tune.RunConfig(
                name=experiment.name,
                storage_path=str(experiment.parent),
                verbose=0,
                stop=rte.FrontStopper(recipe),
                checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
            ),
        )
    frame = rte.to_frame(tuner.fit())
    configs = frame.filter(like="config/").round(6).agg(tuple, axis=1)
    sys.stdout.write(f"statuses: {' '.join(frame['status'])}\n")
    sys.stdout.write(f"distinct: {configs.nunique()}\n")
    devices.close()
    ray.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
