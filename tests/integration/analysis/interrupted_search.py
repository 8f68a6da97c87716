"""A search that the tests interrupt and restore: ``FOLDER [--budget SECONDS] [--steps STEPS]``.

Four trials of six reports (or more), a checkpoint with each, logged by `WandbCallback`.
"""

import argparse
import tempfile
import time
from pathlib import Path

import ray
from ray import tune

import raytune_edge as rte


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--budget", type=float)
    parser.add_argument("--steps", type=int, default=6)
    args = parser.parse_args()

    steps = args.steps

    def trial(config):
        begun = tune.get_checkpoint()
        step = 0
        if begun:
            with begun.as_directory() as kept:
                step = int((Path(kept) / "step").read_text())
        while step < steps:
            time.sleep(0.4)
            step += 1
            with tempfile.TemporaryDirectory() as kept:
                (Path(kept) / "step").write_text(str(step))
                stage = "done" if step == steps else "halfway" if step > 2 else "retrain"
                tune.report(
                    {"score": config["x"], "stage": stage, "step": step, "feasible": True},
                    checkpoint=tune.Checkpoint.from_directory(kept),
                )

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    experiment = args.folder / "tune" / "cut"
    if tune.Tuner.can_restore(str(experiment)):
        tuner = tune.Tuner.restore(str(experiment), trial, resume_unfinished=True)
    else:
        tuner = tune.Tuner(
            trial,
            param_space={"x": tune.grid_search([1, 2, 3, 4])},
            tune_config=tune.TuneConfig(metric="score", mode="max", time_budget_s=args.budget),
            run_config=tune.RunConfig(
                name="cut",
                storage_path=str(args.folder / "tune"),
                verbose=0,
                callbacks=[
                    rte.WandbCallback(project="edge", dir=args.folder),
                    rte.ProgressCallback(),
                ],
            ),
        )
    results = tuner.fit()
    frame = rte.to_frame(results)
    print("statuses:", *frame["status"])
    print("begun:", *frame.loc[frame["stage"] != "", "trial_id"], flush=True)
    ray.shutdown()


if __name__ == "__main__":
    main()
