"""The front of accuracy and latency with Optuna: two goals under a limit, the same trials.

    python examples/optuna_search.py [--trials 16] [--folder runs/optuna]

Needs Optuna: ``pip install 'optuna>=5'``.
"""

import argparse
import logging
import os
from pathlib import Path

# Ray reads these when it is imported: no banners, and no advice about small, frequent checkpoints.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")

import ray
from ray import tune
from ray.tune.search import ConcurrencyLimiter

import raytune_edge as rte
from raytune_edge.analysis import prepare_folder
from raytune_edge.export import export_onnx
from raytune_edge.search import OptunaFrontSearch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=16, help="networks to try (16)")
    parser.add_argument("--epochs", type=int, default=4, help="epochs of retraining (4)")
    parser.add_argument("--limit", type=float, default=0.7, help="of the unpruned latency (0.7)")
    parser.add_argument("--folder", type=Path, default=Path("runs/optuna"))
    parser.add_argument("--smoke-test", action="store_true", help="three trials of one epoch")
    arguments = parser.parse_args()
    if arguments.smoke_test:
        arguments.trials, arguments.epochs = 3, 1
    folder = prepare_folder(arguments.folder.resolve())

    ray.init(
        address="local",
        num_cpus=max(2, os.cpu_count() or 2),
        resources={"ncs": 1},
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    devices = rte.connect_devices("CPU", resource="ncs")
    task, timing = rte.tasks.digits_resnet20(), rte.Timing(precision="f32")
    unpruned = devices.measure(export_onnx(task.baseline(), task.example()).onnx, timing=timing)
    limit_ms = arguments.limit * unpruned.latency_p50_ms
    print(f"wanted: the front up to {limit_ms:.3f} ms")
    recipe = rte.Recipe(
        task=task,
        retrain=rte.Retrain(epochs=arguments.epochs),
        objective=rte.Objective(
            maximize="top1", minimize="latency_p50_ms", latency_budget_ms=limit_ms
        ),
        timing=timing,
    )
    space = rte.search_space(recipe)
    search = OptunaFrontSearch(
        recipe, space, points_to_evaluate=[rte.unpruned_point(space)], seed=0
    )
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(rte.prune_and_retrain, recipe=recipe, devices=devices), {"cpu": 1}
        ),
        tune_config=tune.TuneConfig(
            num_samples=arguments.trials,
            reuse_actors=True,
            search_alg=ConcurrencyLimiter(search, max_concurrent=2),
        ),
        run_config=tune.RunConfig(
            storage_path=str(folder / "tune"),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
            callbacks=[rte.ProgressCallback(devices=devices)],
        ),
    )
    results = tuner.fit()
    devices.close()
    ray.shutdown()

    written = rte.write_results(results, folder)
    print(rte.front_table(results))
    print(f"to look at: {written.report}")
    print(f"results: {written.folder}")


if __name__ == "__main__":
    main()
