"""The original experiment: ResNet-56 on CIFAR-10, on one machine or on a cluster with a device.

    python examples/cifar10_resnet56_cluster.py --weights resnet56.pt
    python examples/cifar10_resnet56_cluster.py --weights resnet56.pt --address auto \
        --device MYRIAD --gpus 1 --at-once 8 --storage s3://bucket/runs

Searched are the pruning ratios of four groups of filters, the epochs and the learning rate of
retraining, and with ``--kinds`` whether filters or channels are ranked. Trials go to the hosts that
have CPUs and GPUs, measurements to those that offer the resource ``ncs``. Begun again, whether it
was stopped or killed, it goes on from what is in the storage; so does a trial whose host is lost.
"""

import argparse
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# Ray reads these when it is imported: no banners, and no advice about small, frequent checkpoints.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")

import ray
from pyarrow.fs import FileSystem, FileType
from ray import tune
from ray.tune.search.hyperopt import HyperOptSearch

import raytune_edge as rte
from raytune_edge.analysis import prepare_folder
from raytune_edge.export import export_onnx

FOUR_GROUPS = {
    "pruning_ratio:early": [f"layer1.{block}.conv1" for block in range(9)],
    "pruning_ratio:middle": [f"layer2.{block}.conv1" for block in (1, 2, 3, 4, 6, 7)],
    "pruning_ratio:late_first": ["layer3.1.conv1"],
    "pruning_ratio:late": [f"layer3.{block}.conv1" for block in (2, 3, 5, 6, 7, 8)],
}
"""The first convolution of each block; the sensitive blocks at the stages' borders are spared.

Source: Intel Distiller's ``resnet56_cifar_filter_rank_v2.yaml``.
"""

PUBLISHED_RATIOS = dict(zip(FOUR_GROUPS, (0.5, 0.5, 0.125, 0.375), strict=True))
"""That schedule's 0.7, 0.6, 0.2 and 0.4, where kept channels are multiples of 8."""


def prune_four_groups(
    config: Mapping[str, Any], *, recipe: rte.Recipe, devices: rte.DevicePool
) -> None:
    """A trial with one ratio for all layers of a group."""
    moves = {key: value for key, value in config.items() if key not in FOUR_GROUPS}
    for group, layers in FOUR_GROUPS.items():
        moves |= {f"pruning_ratio:{layer}": config[group] for layer in layers}
    rte.prune_and_retrain(moves, recipe=recipe, devices=devices)


def four_group_space(
    recipe: rte.Recipe, epochs: tuple[int, int], *, with_kinds: bool
) -> dict[str, Any]:
    """A ratio for each group, on the grid of its first layer; all layers of a group are as wide."""
    space = rte.search_space(
        recipe, epochs=epochs, lr=(1e-3, 1e-1), kinds="one" if with_kinds else None
    )
    ratios = {group: space[f"pruning_ratio:{layers[0]}"] for group, layers in FOUR_GROUPS.items()}
    return ratios | {key: space[key] for key in ("epochs", "lr", "kind") if key in space}


def measured_once(where: str, measure: Callable[[], rte.Measurement]) -> rte.Measurement:
    """What is kept in that file, which may be in a bucket; measured if there is none.

    Begun again, a search has the budget that it began with, and not half of another figure.
    """
    files, path = FileSystem.from_uri(where)
    if files.get_file_info(path).type == FileType.NotFound:
        record = json.dumps(measure().to_dict())
        files.create_dir(path.rpartition("/")[0])
        with files.open_output_stream(path) as file:
            file.write(record.encode())
    with files.open_input_stream(path) as file:
        return rte.Measurement.from_dict(json.loads(file.readall()))


def smoke_task() -> rte.Task:
    """The same network, untrained, on a few digits: shows that everything works, and no more."""

    def few_digits() -> rte.Loaders:
        images, labels = next(iter(rte.tasks.digits_loaders().train))
        batches = [(images[:32], labels[:32])]
        return rte.Loaders(train=batches, validation=batches, test=batches)

    return rte.Task(
        model=lambda: rte.tasks.cifar_resnet(56),
        loaders=few_digits,
        input_shape=(1, 3, 32, 32),
        num_classes=10,
        name="smoke",
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--address", default="local", help="'auto' on a node of a cluster (local)")
    parser.add_argument("--device", default="CPU", help="what the ncs hosts measure on (CPU)")
    parser.add_argument("--budget-ms", type=float, help="half of the unpruned network's latency")
    parser.add_argument("--weights", type=Path, help="of the baseline; trained here without them")
    parser.add_argument("--data", type=Path, help="CIFAR-10 on each host, downloaded if need be")
    parser.add_argument("--trials", type=int, default=100, help="networks to try (100)")
    parser.add_argument("--epochs", type=int, nargs=2, default=(10, 70), help="least, most (10 70)")
    parser.add_argument("--kinds", action="store_true", help="search filters or channels, too")
    parser.add_argument("--at-once", type=int, default=2, help="trials that run at once (2)")
    parser.add_argument("--cpus", type=int, default=1, help="of a trial (1)")
    parser.add_argument("--gpus", type=float, default=0, help="of a trial (0); may be a fraction")
    parser.add_argument("--storage", help="folder or bucket that all hosts reach (FOLDER/tune)")
    parser.add_argument("--folder", type=Path, default=Path("runs/cifar10"), help="for the results")
    parser.add_argument("--smoke-test", action="store_true", help="three short trials")
    arguments = parser.parse_args()
    if arguments.smoke_test:
        arguments.trials, arguments.epochs, arguments.kinds = 3, (1, 2), True
        arguments.at_once = 1
    return arguments


def main() -> None:
    arguments = parse_arguments()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    folder = prepare_folder(arguments.folder.resolve())
    task = (
        smoke_task()
        if arguments.smoke_test
        else rte.tasks.cifar10_resnet56(folder=arguments.data, weights=arguments.weights)
    )

    # A cluster has its resources already; this machine alone offers its CPU as a device.
    here = {"resources": {"ncs": 1}, "include_dashboard": False}
    ray.init(
        address=arguments.address,
        log_to_driver=False,
        logging_level=logging.ERROR,
        **(here if arguments.address == "local" else {}),
    )
    devices = rte.connect_devices(arguments.device, resource="ncs")
    timing = rte.Timing(precision="f32" if arguments.device == "CPU" else None)
    storage = arguments.storage or str(folder / "tune")
    experiment = f"{storage}/resnet56"

    def measure_unpruned() -> rte.Measurement:
        return devices.measure(export_onnx(task.baseline(), task.example()).onnx, timing=timing)

    unpruned = measured_once(f"{experiment}/unpruned.json", measure_unpruned)
    budget_ms = arguments.budget_ms or unpruned.latency_p50_ms / 2
    print(f"unpruned: {unpruned.latency_p50_ms:.3f} ms; wanted: at most {budget_ms:.3f} ms")

    recipe = rte.Recipe(
        task=task,
        retrain=rte.Retrain(collapse_epochs=3),
        objective=rte.Objective(maximize="top1", latency_budget_ms=budget_ms),
        timing=timing,
    )
    trainable = tune.with_resources(
        tune.with_parameters(prune_four_groups, recipe=recipe, devices=devices),
        {"cpu": arguments.cpus, "gpu": arguments.gpus},
    )
    if tune.Tuner.can_restore(experiment):
        print(f"going on with what was done in {experiment}")
        tuner = tune.Tuner.restore(
            experiment, trainable, resume_unfinished=True, resume_errored=True
        )
    else:
        space = four_group_space(recipe, arguments.epochs, with_kinds=arguments.kinds)
        unpruned_point = rte.unpruned_point(space)
        search = HyperOptSearch(
            points_to_evaluate=[unpruned_point, unpruned_point | PUBLISHED_RATIOS],
            random_state_seed=0,
        )
        tuner = tune.Tuner(
            trainable,
            param_space=space,
            tune_config=tune.TuneConfig(
                metric="score",
                mode="max",
                num_samples=arguments.trials,
                max_concurrent_trials=arguments.at_once,  # else an autoscaler adds hosts one by one
                reuse_actors=True,
                search_alg=search,
            ),
            run_config=tune.RunConfig(
                name="resnet56",
                storage_path=storage,
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
                failure_config=tune.FailureConfig(max_failures=3),  # a host that is lost is one
                callbacks=[
                    rte.ProgressCallback(devices=devices),
                    rte.RunRecordCallback(),
                    rte.WandbCallback(project="raytune_edge", dir=str(folder), budget_ms=budget_ms),
                ],
            ),
        )
    results = tuner.fit()
    devices.close()

    print(rte.front_table(results))
    written = rte.write_results(results, folder, budget_ms=budget_ms, unpruned=unpruned)
    print(f"to look at: {written.report}")
    print(f"results: {folder}")


if __name__ == "__main__":
    main()
