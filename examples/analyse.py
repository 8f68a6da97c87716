"""Read a finished search: table, front, pictures, report, and the network to deploy.

    python examples/analyse.py runs/quickstart/tune/digits [--folder runs/analysis]

The argument is the folder of Tune's experiment. It is read as it is, long after the search, and
without Ray running.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import raytune_edge as rte
from raytune_edge.analysis import best_trial, correlations, plots, prepare_folder, spent
from raytune_edge.analysis.plots import style

PICTURES = {
    "hypervolume": plots.plot_hypervolume,  # does searching on still pay?
    "ratio-latency": plots.plot_ratio_latency,  # which groups make it fast?
    "curves": plots.plot_accuracy_curves,  # was it retrained for long enough?
    "timeline": plots.plot_timeline,  # who waited for whom?
}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("experiment", type=Path, nargs="?", help="<storage_path>/<name>")
    parser.add_argument("--under-ms", type=float, help="choose the most accurate network under it")
    parser.add_argument("--folder", type=Path, default=Path("runs/analysis"))
    parser.add_argument("--smoke-test", action="store_true", help="read a small search made for it")
    arguments = parser.parse_args()
    if arguments.experiment is None and not arguments.smoke_test:
        parser.error("name the folder of a search, such as runs/quickstart/tune/digits")
    return arguments


def small_search(folder: str) -> Path:
    """An experiment to read."""
    example = Path(__file__).with_name("bring_your_own_model.py")
    command = [sys.executable, str(example), "--smoke-test", "--folder", folder]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return Path(folder, "tune", "own")


def analyse(experiment: Path, folder: Path, under_ms: float | None) -> None:
    # One row a trial: what it chose, what it reached, and how it ended.
    trials = rte.to_frame(experiment)
    print(trials["status"].value_counts().to_string(), end="\n\n")
    print(rte.front_table(experiment), end="\n\n")
    print("correlation of the ratios with latency and accuracy:")
    print(correlations(trials).to_string(), end="\n\n")
    took = spent(trials)
    print(
        f"retrained for {took.retrain_s:.0f} s, measured for {took.device_s:.0f} s; ending trials "
        f"early saved {took.saved_by_gate + took.saved_by_stop} epochs",
        end="\n\n",
    )

    # Tables, front.png, best/ and report.html; then some pictures by themselves.
    written = rte.write_results(experiment, folder, budget_ms=under_ms)
    print(f"to look at: {written.report}")
    for name, plot in PICTURES.items():
        style.save(plot(experiment), folder / f"{name}.png")

    # The network to deploy: the best by score, or the most accurate one that is fast enough.
    chosen = best_trial(trials)
    if under_ms is not None:
        chosen = rte.best_under(trials, latency_ms=under_ms)
    if chosen is None:
        print("no network is good enough to deploy")
        return
    bundle = rte.export_bundle(chosen, folder / "bundle")
    print(f"trial {chosen['trial']} to deploy: {bundle} (raytune-edge verify {bundle})")


def main() -> None:
    arguments = parse_arguments()
    folder = prepare_folder(arguments.folder.resolve())
    with tempfile.TemporaryDirectory() as temporary:
        experiment = arguments.experiment or small_search(temporary)
        analyse(experiment, folder, arguments.under_ms)
    print(f"results: {folder}")


if __name__ == "__main__":
    main()
