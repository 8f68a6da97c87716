"""Six ways to search, replayed on one table of really trained and measured networks.

All look for the front of top-1 and latency under a latency budget, half of the unpruned network's
(``--budget``), and all may spend the same number of retraining epochs, one trial after the other:

- ``original``: HyperOpt on one score, no gate: each trial costs all its epochs, then is measured.
- ``random``, ``hyperopt_gated``: drawn at random, HyperOpt on the same score; with the gate.
- ``ours``: `raytune_edge.search.FrontSearch` with gate and screening.
- ``optuna_tpe``, ``optuna_nsga2``: Tune's OptunaSearch on both goals, told of the budget as a
  constraint; with the gate. TPE is multivariate and NSGA-II has a population of 16: on this table
  both do better so than by their defaults.

What each part brings, beside the six: ``random_without_repeats`` (gate alone, each network once),
``hyperopt_with_stopper`` (HyperOpt with gate and `FrontStopper`), ``ours_without_screening`` and
``ours_with_stopper``. HyperOpt with the gate begins with 8 random networks as ``ours`` does, which
is better for it on this table than its own 20; ``original`` has those 20.

With the gate a network over the budget costs one epoch: the one that is under way when its
measurement comes in. Networks that were trained to their end and keep within the budget count, by
the hypervolume that they dominate: from the budget and the top-1 of the table's worst network, as a
fraction of what the whole table has. The reference is the median that ``original`` has at its end.
A seed that never reaches it counts as the whole budget, so such medians are lower bounds. That of
``original`` is one by construction: half of its seeds end below the reference. So it is also told
when its median curve first has the height that it has at its end.

Prints a table, then JSON: ``{"epochs_to_reference": {"original": n, ...},
"hypervolume_at_equal_epochs": {...}}`` of the six, medians over the seeds; the latter when all is
spent. The JSON before it tells the rest.

    python benchmarks/search.py [--seeds 20] [--epochs 480] [--budget 0.5] [--image PATH]
"""

import argparse
import concurrent.futures
import dataclasses
import functools
import json
import logging
import multiprocessing
import os
import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from _machine import machine
from _replay import (
    Curve,
    Scale,
    Shuffled,
    Table,
    answers,
    curve,
    load,
    median_reaches,
    reference_volume,
    replay,
)
from ray.tune.search import Searcher
from ray.tune.search.hyperopt import HyperOptSearch
from ray.tune.search.optuna import OptunaSearch

import raytune_edge as rte
from raytune_edge.analysis.plots import style
from raytune_edge.search import FrontSearch, FrontStopper, optuna_space
from raytune_edge.space import ratio_grid
from raytune_edge.tasks.resnet import cifar_resnet

TABLE = Path(__file__).with_name("search_table.json")
IMAGE = Path("docs/images/search.png")


def grid_space(table: Table) -> dict[str, Any]:
    """The table's dimensions as `raytune_edge.search_space` makes them."""
    return {
        name: ratio_grid(levels[1], len(levels) - 1) for name, levels in table.dimensions.items()
    }


def hyperopt(table: Table, objective: rte.Objective, seed: int, **settings: Any) -> Searcher:
    return HyperOptSearch(
        grid_space(table), metric="score", mode="max", random_state_seed=seed, **settings
    )


def shuffled(table: Table, objective: rte.Objective, seed: int) -> Searcher:
    return Shuffled(table, seed)


def ours(table: Table, objective: rte.Objective, seed: int, **settings: Any) -> Searcher:
    # Only the network's shape is asked for: an untrained one has it too.
    task = dataclasses.replace(
        rte.tasks.digits_resnet20(), model=functools.partial(cifar_resnet, 20)
    )
    recipe = rte.Recipe(task=task, objective=objective, round_to=4, min_keep=4)
    return FrontSearch(recipe, space=grid_space(table), random_state_seed=seed, **settings)


def optuna_search(
    table: Table,
    objective: rte.Objective,
    seed: int,
    *,
    sampler: Callable[..., optuna.samplers.BaseSampler],
) -> Searcher:
    def over_budget(trial: optuna.trial.FrozenTrial) -> tuple[float]:
        return (table.network(trial.params).latency_p50_ms[0] - objective.latency_budget_ms,)

    return OptunaSearch(
        optuna_space(grid_space(table)),
        metric=["top1", "latency_p50_ms"],
        mode=["max", "min"],
        sampler=sampler(seed=seed, constraints_func=over_budget),
    )


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to search.

    Attributes:
        searcher: Made from the table, the objective and a seed.
        gate: Whether a network is measured before it is retrained.
        stopper: Whether `FrontStopper` ends hopeless trials.
    """

    searcher: Callable[[Table, rte.Objective, int], Searcher]
    gate: bool = True
    stopper: bool = False


def optuna_way(sampler: Callable[..., optuna.samplers.BaseSampler], **settings: Any) -> Way:
    made = functools.partial(sampler, **settings)
    return Way(searcher=functools.partial(optuna_search, sampler=made))


hyperopt_of_8 = functools.partial(hyperopt, n_initial_points=8)

SIX = {
    "original": Way(searcher=hyperopt, gate=False),
    "random": Way(searcher=functools.partial(hyperopt, n_initial_points=10**9)),
    "hyperopt_gated": Way(searcher=hyperopt_of_8),
    "ours": Way(searcher=ours),
    "optuna_tpe": optuna_way(optuna.samplers.TPESampler, multivariate=True),
    "optuna_nsga2": optuna_way(optuna.samplers.NSGAIISampler, population_size=16),
}
PARTS = {
    "random_without_repeats": Way(searcher=shuffled),
    "hyperopt_with_stopper": Way(searcher=hyperopt_of_8, stopper=True),
    "ours_without_screening": Way(searcher=functools.partial(ours, screening=False)),
    "ours_with_stopper": Way(searcher=ours, stopper=True),
}
WAYS = SIX | PARTS


def run(name: str, seed: int, *, table: Path, budget: float, epochs: int) -> tuple[Curve, float]:
    """One replay; and the seconds of processor time that it took."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    networks, _ = load(table)
    limit = budget * networks.unpruned.latency_ms
    objective = rte.Objective(maximize="top1", minimize="latency_p50_ms", latency_budget_ms=limit)
    started = time.process_time()
    way = WAYS[name]
    ended = replay(
        way.searcher(networks, objective, seed),
        networks,
        objective,
        gate=way.gate,
        budget=epochs,
        stop=FrontStopper(objective) if way.stopper else None,
    )
    worst = min(network.top1[-1] for network in networks.networks.values())
    scale = Scale(worst_top1=worst, worst_latency_ms=limit)
    return curve(ended, networks, scale), time.process_time() - started


def draw(curves: Mapping[str, list[Curve]], epochs: int, image: Path) -> None:
    """Hypervolume against epochs: medians, and quartiles as bands."""
    ax = style.axes_or_new(None)
    spent = np.arange(epochs + 1)
    for name, colour in zip(curves, style.COLOURS, strict=False):
        volumes = np.array([[each.at(n) for n in spent] for each in curves[name]])
        low, middle, high = np.percentile(volumes, (25, 50, 75), axis=0)
        ax.fill_between(spent, low, high, color=colour, alpha=0.12, linewidth=0, step="post")
        ax.step(spent, middle, where="post", color=colour, label=name)
    reference = reference_volume(curves, epochs)
    ax.axhline(
        reference, color=style.GREY, linewidth=0.8, linestyle="--", label="original at its end"
    )
    ax.set_xlabel("retraining epochs spent")
    ax.set_ylabel("hypervolume, fraction of the table's")
    ax.set_xlim(0, epochs)
    ax.set_ylim(0, 1)
    ax.legend(frameon=False, loc="lower right")
    image.parent.mkdir(parents=True, exist_ok=True)
    style.save(ax, image)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=480, help="what each search may spend")
    parser.add_argument("--budget", type=float, default=0.5, help="of the unpruned latency")
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--image", type=Path, default=IMAGE)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    names = [name for name in WAYS if name in arguments.only or name == "original"]
    table, head = load(arguments.table)
    limit = arguments.budget * table.unpruned.latency_ms
    inside = sum(network.latency_ms <= limit for network in table.networks.values())
    print(f"{len(table.networks)} networks, measured {head['date']} on {head['machine']}")
    print(f"{inside} keep within {limit:.4f} ms; each search may spend {arguments.epochs} epochs")
    replays = functools.partial(
        run, table=arguments.table, budget=arguments.budget, epochs=arguments.epochs
    )
    spawn = multiprocessing.get_context("spawn")
    curves: dict[str, list[Curve]] = {}
    with concurrent.futures.ProcessPoolExecutor(arguments.workers, mp_context=spawn) as pool:
        futures = {
            name: [pool.submit(replays, name, seed) for seed in range(arguments.seeds)]
            for name in names
        }
        for name in names:
            results = [future.result() for future in futures[name]]
            curves[name] = [each for each, _ in results]
            took_s = statistics.median(took for _, took in results)
            print(f"{name}: {len(results)} replays, {took_s:.1f} s of one core each", flush=True)
    tell(curves, arguments.epochs)
    six = {name: curves[name] for name in SIX if name in curves}
    draw(six, arguments.epochs, arguments.image)
    print(f"wrote {arguments.image}")
    parts = answers(curves, arguments.epochs)
    for figures in parts.values():
        for name in SIX:
            figures.pop(name, None)
    rest = {
        "parts": parts,
        "original_median_at_its_height_after": median_reaches(curves["original"], arguments.epochs),
        "optuna": optuna.__version__,
        "table": head["date"],
    }
    print(json.dumps({"machine": machine(), **rest}))
    print(json.dumps(answers(six, arguments.epochs)))


def tell(curves: Mapping[str, list[Curve]], epochs: int) -> None:
    """Print medians over the seeds, and how many of them reach the reference."""
    reference = reference_volume(curves, epochs)
    needed = answers(curves, epochs)["epochs_to_reference"]
    marks = [epochs // 8, epochs // 4, epochs // 2, epochs]
    print(f"reference {reference:.4f}; hypervolume at so many epochs:")
    print(f"{'':24}{'epochs to it':>13}{'seeds':>7}{'trials':>8}", end="")
    print("".join(f"{mark:>9}" for mark in marks))
    for name, found in curves.items():
        seeds = sum(each.epochs_to(reference) <= epochs for each in found)
        trials = statistics.median(len(each.spent) for each in found)
        print(f"{name:24}{needed[name]:>13g}{seeds:>7}{trials:>8g}", end="")
        volumes = [statistics.median(each.at(mark) for each in found) for mark in marks]
        print("".join(f"{volume:>9.4f}" for volume in volumes))
    first = median_reaches(curves["original"], epochs)
    print(f"the median curve of original has the height of its end after {first} epochs")


if __name__ == "__main__":
    main()
