"""All benchmarks, one after the other, and `RESULTS.md` made from what they print.

Each is a script of its own: it prints a table, then JSON. Both are kept in ``results/NAME.json``,
with the command, the machine and the versions; `RESULTS.md` is made from these files, so that one
benchmark may be run again alone. Progress goes to the screen. Nothing else should run meanwhile.

    python benchmarks/suite.py [NAME ...]    # all, or those: about an hour on two cores
    python benchmarks/suite.py --write       # only RESULTS.md, from what was kept
"""

import argparse
import ast
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KEPT = HERE / "results"
RESULTS = HERE / "RESULTS.md"
WIDEST = 160
_GOES_ON = re.compile(r"$|\t|\s*\[state-dump\]")

HEAD = """\
# Benchmark results

Made by `make bench` from what the scripts in `benchmarks/` printed; don't edit. Remarks below a
figure were added by hand, to its file in `results/`. Each figure
compares within one run, on the machine that is named; between machines only ratios tell something.
"""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One script.

    Attributes:
        name: Of the script, without ``.py``.
        title: Of its part of `RESULTS.md`.
        goals: What is wanted, in words, and whether the script's JSON says so.
        arguments: What it is called with.
    """

    name: str
    title: str
    goals: Mapping[str, Callable[[Any], bool]]
    arguments: tuple[str, ...] = ()

    @property
    def kept(self) -> Path:
        settings = [each.removeprefix("--") for each in self.arguments]
        return KEPT / f"{'-'.join([self.name, *settings])}.json"

    @property
    def command(self) -> list[str]:
        return ["python", f"benchmarks/{self.name}.py", *self.arguments]

    def about(self) -> str:
        """The first sentence of the script's docstring."""
        docstring = ast.get_docstring(ast.parse((HERE / f"{self.name}.py").read_text()))
        assert docstring is not None, self.name
        return docstring.partition("\n\n")[0].replace("\n", " ")


SUITE = (
    Benchmark(
        name="fidelity",
        title="Our p50 against benchmark_app's",
        goals={
            "each median ratio is within 2 %": lambda told: all(
                abs(ratio - 1) <= 0.02 for ratio in told["median_ratio"].values()
            )
        },
    ),
    Benchmark(
        name="pool_cost",
        title="What the pool and the store cost",
        goals={
            "a request through the pool adds at most 10 ms": lambda told: (
                max(told["added_ms"].values()) <= 10
            ),
            "at most 2 ms of them are not Ray's": lambda told: (
                max(added - told["bare_ms"][size] for size, added in told["added_ms"].items()) <= 2
            ),
            "a kept answer takes at most 10 ms": lambda told: max(told["cached_ms"].values()) <= 10,
        },
    ),
    Benchmark(
        name="faults",
        title="A hundred faults against a pool",
        goals={
            "at least 100 faults": lambda told: told["faults"] >= 100,
            "no request lost": lambda told: told["lost"] == 0,
            "no number wrong": lambda told: told["wrong"] == 0,
        },
    ),
    Benchmark(
        name="chaos",
        title="A tuning run whose nodes are killed and cut off",
        goals={
            "no trial lost": lambda told: told["lost"] == 0,
            "none measured wrongly, and the front is the right one": lambda told: (
                told["wrong"] == 0
            ),
        },
    ),
    Benchmark(
        name="pipeline",
        arguments=("--only", "4x1", "16x4"),
        title="How busy trainers and devices are kept",
        goals={
            "our efficiency is at least 0.97 with 4 trainers and 1 device, and with 16 and 4": (
                lambda told: all(each["ours"] >= 0.97 for each in told["efficiency"].values())
            ),
        },
    ),
    Benchmark(
        name="pipeline",
        arguments=("--only", "32"),
        title="32 trials at once over 4 devices on two hosts",
        goals={
            "efficiency of at least 0.97": lambda told: told["32 at once"]["efficiency"] >= 0.97,
            "devices' shares of the work within 5 % of each other": lambda told: (
                told["32 at once"]["share_off"] <= 0.05
            ),
        },
    ),
    Benchmark(
        name="overhead",
        title="What a trial and the import cost",
        goals={
            "at most 20 ms over a bare trial of Tune": lambda told: told["per_trial_ms"] <= 20,
            "the import takes at most 50 ms": lambda told: told["import_ms"] <= 50,
        },
    ),
    Benchmark(
        name="prune_only",
        title="Networks an hour, without retraining",
        goals={
            "at least 900 an hour": lambda told: told["evaluations_an_hour"]["cold"] >= 900,
        },
    ),
    Benchmark(
        name="search",
        title="Six ways to search",
        goals={
            "ours needs at most a third of the original's epochs for its hypervolume": (
                lambda told: (
                    3 * told["epochs_to_reference"]["ours"]
                    <= told["epochs_to_reference"]["original"]
                )
            ),
            "ours is ahead of both of Optuna's samplers at equal epochs": lambda told: (
                told["hypervolume_at_equal_epochs"]["ours"]
                > max(
                    told["hypervolume_at_equal_epochs"][name]
                    for name in ("optuna_tpe", "optuna_nsga2")
                )
            ),
        },
    ),
    Benchmark(name="pruning", title="Pruning backends, side by side", goals={}),
    Benchmark(name="ncs2_table", title="What the stick's compiler makes of networks", goals={}),
    Benchmark(name="analysis_time", title="Reading 2,000 trials", goals={}),
)


def run(benchmark: Benchmark) -> bool:
    """Run one script and keep what it told; its progress and its table are shown meanwhile.

    A script may end with an error and tell why in its JSON, such as requests that were lost.

    Returns:
        Whether it told anything; if not, what was kept of an earlier run stays.
    """
    started = time.time()
    command = [sys.executable, *benchmark.command[1:]]
    print(f"$ {' '.join(benchmark.command)}", flush=True)
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=HERE.parent) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip())
            print(lines[-1][:WIDEST], flush=True)
    if not any(line.startswith("{") for line in lines):
        print(f"{benchmark.name} ended with {process.returncode} and told nothing: see above")
        return False
    machine, told = split(lines)
    kept = {
        "command": " ".join(benchmark.command),
        "minutes": round((time.time() - started) / 60, 1),
        "machine": machine,
        "printed": without_ray(line for line in lines if not line.startswith("{")),
        "told": told,
    }
    KEPT.mkdir(exist_ok=True)
    benchmark.kept.write_text(json.dumps(kept, indent=1) + "\n")
    return True


def split(lines: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The machine, and the rest of what the JSON lines say."""
    told: dict[str, Any] = {}
    for line in lines:
        if line.startswith("{"):
            told |= json.loads(line)
    return told.pop("machine"), told


def without_ray(lines: Iterable[str]) -> list[str]:
    """The lines without what Ray tells of nodes that ended, its long reports included."""
    kept, in_report = [], False
    for line in lines:
        in_report = "(raylet)" in line or (in_report and _GOES_ON.match(line) is not None)
        if not in_report:
            kept.append(line)
    return kept


def section(benchmark: Benchmark) -> str:
    """A benchmark's part of `RESULTS.md`."""
    if not benchmark.kept.exists():
        return f"## {benchmark.title}\n\n`{' '.join(benchmark.command)}` was not run yet.\n"
    kept = json.loads(benchmark.kept.read_text())
    machine = kept["machine"]
    parts = [
        f"## {benchmark.title}",
        benchmark.about(),
        "\n".join(
            f"- {'met' if met(kept['told']) else '**not met**'}: {goal}"
            for goal, met in benchmark.goals.items()
        ),
        "```text\n" + "\n".join(kept["printed"]).strip("\n") + "\n```",
        f"`{kept['command']}` at {machine['commit'] or 'no commit'}: {kept['minutes']} minutes "
        f"from {machine['taken_at']}, load {machine['load']} before, on {name_of(machine)}.",
        kept.get("remark", ""),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def name_of(machine: Mapping[str, Any]) -> str:
    """A machine and what was installed there, in words."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    cores = f"{machine['cores']} cores of {machine['cpu']}"
    return f"{cores} with Python {machine['python']}, {versions}"


def results() -> str:
    """`RESULTS.md`; what all have in common is told once."""
    kept = [json.loads(each.kept.read_text()) for each in SUITE if each.kept.exists()]
    machines = {name_of(each["machine"]) for each in kept}
    sections = list(map(section, SUITE))
    if len(machines) == 1:
        (common,) = machines
        head = f"{HEAD}\nAll on {common}.\n"
        return "\n".join([head, *(each.replace(f", on {common}.", ".") for each in sections)])
    return "\n".join([HEAD, *sections])


def main() -> int:
    names = [each.name for each in SUITE]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--write", action="store_true", help="run none")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(names):
        parser.error(f"there is no {sorted(unknown)}; there are {names}")
    failed = []
    for benchmark in SUITE:
        if not arguments.write and benchmark.name in (arguments.names or names):
            if not run(benchmark):
                failed.append(benchmark.name)
            RESULTS.write_text(results())
    RESULTS.write_text(results())
    print(f"wrote {RESULTS.relative_to(HERE.parent)}")
    if failed:
        print(f"told nothing: {', '.join(failed)}", file=sys.stderr)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
