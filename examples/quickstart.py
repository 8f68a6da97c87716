"""Tune ResNet-20 on scikit-learn's digits for this machine's CPU, end to end.

    python examples/quickstart.py [--trials 16] [--folder runs/quickstart] [--fresh]

Ray Tune prunes and retrains, an actor that holds the resource ``ncs`` measures with OpenVINO,
HyperOpt searches, Weights & Biases logs offline. Stopped with Ctrl-C and started again, it goes
on from what was done.
"""

import argparse
import json
import logging
import os
import shutil
import sys
from pathlib import Path

import ray
from ray import tune
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.hyperopt import HyperOptSearch

import raytune_edge as rte
from raytune_edge.analysis import front_table, prepare_folder, to_frame, write_results
from raytune_edge.export import export_onnx
from raytune_edge.training import evaluate


def measured_baseline(task: rte.Task, devices: rte.DevicePool, folder: Path) -> dict[str, float]:
    """Latency and test accuracy of the unpruned network; measured once for each folder."""
    path = folder / "baseline.json"
    if not path.exists():
        measurement = devices.measure(export_onnx(task.baseline(), task.example()).onnx)
        accuracy = evaluate(task.baseline(), task.loaders().test)
        values = {"latency_p50_ms": measurement.latency_p50_ms, "test_top1": accuracy.top1}
        path.write_text(json.dumps(values))
    return json.loads(path.read_text())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=16, help="networks to try (16)")
    parser.add_argument("--epochs", type=int, default=4, help="epochs of retraining (4)")
    parser.add_argument("--folder", type=Path, default=Path("runs/quickstart"))
    parser.add_argument("--fresh", action="store_true", help="forget what was done in the folder")
    parser.add_argument("--smoke-test", action="store_true", help="three trials of one epoch")
    args = parser.parse_args()
    trials, epochs = (3, 1) if args.smoke_test else (args.trials, args.epochs)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    folder = prepare_folder(args.folder.resolve())
    if args.fresh:
        shutil.rmtree(folder)
        prepare_folder(folder)

    task = rte.tasks.digits_resnet20()
    ray.init(
        num_cpus=max(1, (os.cpu_count() or 2) - 1),  # the device measures on a core of its own
        resources={"ncs": 1},
        include_dashboard=False,
        log_to_driver=False,
    )
    devices = rte.connect_devices("CPU", resource="ncs")
    baseline = measured_baseline(task, devices, folder)
    budget_ms = baseline["latency_p50_ms"] / 2
    print(
        f"baseline: {baseline['latency_p50_ms']:.3f} ms, test top-1 {baseline['test_top1']:.3f}; "
        f"budget: {budget_ms:.3f} ms"
    )

    recipe = rte.Recipe(
        task=task,
        retrain=rte.Retrain(epochs=epochs),
        objective=rte.Objective(maximize="top1", latency_budget_ms=budget_ms),
    )
    space = rte.search_space(recipe)
    trainable = tune.with_resources(
        tune.with_parameters(rte.prune_and_retrain, recipe=recipe, devices=devices), {"cpu": 1}
    )
    storage = folder / "tune"
    experiment = str(storage / "digits")
    if tune.Tuner.can_restore(experiment):
        print(f"going on with what was done in {folder} (--fresh begins anew)")
        tuner = tune.Tuner.restore(
            experiment, trainable, resume_unfinished=True, resume_errored=True
        )
    else:
        search = HyperOptSearch(
            points_to_evaluate=[rte.unpruned_point(space)], n_initial_points=6, random_state_seed=0
        )
        tuner = tune.Tuner(
            trainable,
            param_space=space,
            tune_config=tune.TuneConfig(
                metric="score",
                mode="max",
                num_samples=trials,
                reuse_actors=True,
                search_alg=ConcurrencyLimiter(search, max_concurrent=2),
            ),
            run_config=tune.RunConfig(
                name="digits",
                storage_path=str(storage),
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
                callbacks=[
                    rte.ProgressCallback(),
                    rte.WandbCallback(project="raytune_edge", dir=str(folder)),
                ],
            ),
        )
    results = tuner.fit()

    frame = to_frame(results)
    finished = int(frame["finished"].sum())
    written = write_results(results, folder, budget_ms=budget_ms)
    print(front_table(results))
    if finished < trials:
        print(f"{finished} of {trials} trials are done; the same command goes on from here")
    print(f"results: {written.folder}")
    ray.shutdown()
    return 0 if finished == trials else 1


if __name__ == "__main__":
    sys.exit(main())
