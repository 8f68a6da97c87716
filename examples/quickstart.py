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

# Ray reads these when it is imported: no banners, and no advice about small, frequent checkpoints.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")

import ray
from ray import tune
from ray.tune.search import ConcurrencyLimiter

import raytune_edge as rte
from raytune_edge.analysis import best_trial, prepare_folder
from raytune_edge.export import export_onnx
from raytune_edge.training import evaluate

# Some CPUs run in bfloat16 by default; with f32 the figures mean the same on all of them.
# Per-layer times are for the report.
TIMING = rte.Timing(precision="f32", profile=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=16, help="networks to try (16)")
    parser.add_argument("--epochs", type=int, default=4, help="epochs of retraining (4)")
    parser.add_argument("--folder", type=Path, default=Path("runs/quickstart"))
    parser.add_argument("--fresh", action="store_true", help="forget what was done in the folder")
    parser.add_argument("--smoke-test", action="store_true", help="three trials of one epoch")
    arguments = parser.parse_args()
    if arguments.smoke_test:
        arguments.trials, arguments.epochs = 3, 1
    return arguments


def measure_baseline(task: rte.Task, devices: rte.DevicePool, path: Path) -> rte.Measurement:
    """The unpruned network, layer by layer; a second run reads the figures from ``path``."""
    if not path.exists():
        exported = export_onnx(task.baseline(), task.example())
        measurement = devices.measure(exported.onnx, timing=TIMING)
        path.write_text(json.dumps(measurement.to_dict()))
    return rte.Measurement.from_dict(json.loads(path.read_text()))


def make_tuner(
    recipe: rte.Recipe, devices: rte.DevicePool, folder: Path, trials: int
) -> tune.Tuner:
    """A new experiment, or the one in ``folder`` to go on with."""
    trainable = tune.with_resources(
        tune.with_parameters(rte.prune_and_retrain, recipe=recipe, devices=devices), {"cpu": 1}
    )
    experiment = folder / "tune" / "digits"
    if tune.Tuner.can_restore(str(experiment)):
        print(f"going on with what was done in {folder} (--fresh begins anew)")
        return tune.Tuner.restore(
            str(experiment), trainable, resume_unfinished=True, resume_errored=True
        )
    space = rte.search_space(recipe)
    known_starts = [rte.unpruned_point(space), rte.uniform_point(space, 0.5)]
    search = rte.FrontSearch(
        recipe, points_to_evaluate=known_starts, n_initial_points=6, random_state_seed=0
    )
    return tune.Tuner(
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
            name=experiment.name,
            storage_path=str(experiment.parent),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
            callbacks=[
                rte.ProgressCallback(devices=devices),
                rte.RunRecordCallback(),
                rte.WandbCallback(
                    project="raytune_edge",
                    dir=str(folder),
                    budget_ms=recipe.objective.latency_budget_ms,
                ),
            ],
        ),
    )


def main() -> int:
    arguments = parse_arguments()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    folder = prepare_folder(arguments.folder.resolve())
    if arguments.fresh:
        shutil.rmtree(folder)
        prepare_folder(folder)

    task = rte.tasks.digits_resnet20()
    ray.init(
        address="local",
        num_cpus=max(2, os.cpu_count() or 2),
        resources={"ncs": 1},
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    devices = rte.connect_devices("CPU", resource="ncs")
    unpruned = measure_baseline(task, devices, folder / "unpruned.json")
    unpruned_top1 = evaluate(task.baseline(), task.loaders().test).top1
    budget_ms = unpruned.latency_p50_ms / 2
    print(
        f"unpruned: {unpruned.latency_p50_ms:.3f} ms, top-1 on test data {unpruned_top1:.4f}; "
        f"wanted: at most {budget_ms:.3f} ms"
    )
    recipe = rte.Recipe(
        task=task,
        retrain=rte.Retrain(epochs=arguments.epochs),
        objective=rte.Objective(maximize="top1", latency_budget_ms=budget_ms),
        timing=TIMING,
    )
    results = make_tuner(recipe, devices, folder, arguments.trials).fit()
    devices.close()
    ray.shutdown()

    written = rte.write_results(results, folder, budget_ms=budget_ms, unpruned=unpruned)
    print(rte.front_table(results))
    best = best_trial(results)
    if best is not None:
        print(
            f"best: {best['latency_p50_ms']:.3f} ms instead of {unpruned.latency_p50_ms:.3f}, "
            f"top-1 on test data {best['test_top1']:.4f} instead of {unpruned_top1:.4f}"
        )
    done = int(rte.to_frame(results)["finished"].sum())
    if done < arguments.trials:
        print(f"{done} of {arguments.trials} trials are done; the same command goes on from here")
    print(f"to look at: {written.report}")
    print(f"results: {written.folder}")
    return 0 if done >= arguments.trials else 1


if __name__ == "__main__":
    sys.exit(main())
