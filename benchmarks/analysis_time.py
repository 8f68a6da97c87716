"""How long it takes to read 2,000 trials and to write everything that is made of them.

    python benchmarks/analysis_time.py [--trials 2000]

The trials are made up, as in the unit tests. The last line is JSON: seconds by step, and bytes.
"""

import argparse
import importlib.util
import json
import tempfile
import time
from pathlib import Path

from _machine import machine

from raytune_edge.analysis import hypervolume_by, importance, pareto_front, to_frame, write_results

MADE_UP = Path(__file__).parents[1] / "tests" / "unit" / "analysis" / "conftest.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=2000)
    args = parser.parse_args()
    spec = importlib.util.spec_from_file_location("made_up", MADE_UP)
    made_up = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made_up)
    search = made_up.make_trials(args.trials, groups=tuple(f"layer{n}" for n in range(20)))
    taken = {}
    with tempfile.TemporaryDirectory() as folder:
        steps = {
            "to_frame": lambda: to_frame(search),
            "pareto_front": lambda: pareto_front(search),
            "hypervolume_by": lambda: hypervolume_by(search),
            "importance": lambda: importance(search),
            "write_results": lambda: write_results(search, folder, budget_ms=0.8),
        }
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            taken[f"{name}_s"] = round(time.perf_counter() - start, 3)
            print(f"{name}: {taken[f'{name}_s']} s")
        size = Path(folder, "report.html").stat().st_size
    result = {"trials": args.trials, "report_bytes": size, **taken}
    print(json.dumps({**result, "machine": machine()}))


if __name__ == "__main__":
    main()
