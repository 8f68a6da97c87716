"""What is in the report, in order."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pandas as pd
from matplotlib.axes import Axes

from raytune_edge.analysis import plots
from raytune_edge.analysis.experiment import Results, run_record
from raytune_edge.analysis.files import read_json
from raytune_edge.analysis.frame import CONFIG, baseline, to_frame
from raytune_edge.analysis.front import pareto_front
from raytune_edge.analysis.html import Section, Table, picture, table
from raytune_edge.analysis.relations import correlations
from raytune_edge.analysis.spent import spent
from raytune_edge.analysis.write import best_trial
from raytune_edge.records import METRIC_UNITS, Measurement

__all__ = ["all_sections"]

_FORMATS = {
    "trial": "d",
    "epoch": "d",
    "macs": ",.0f",
    "params": ",.0f",
    "size_bytes": ",.0f",
    "n": "d",
    **dict.fromkeys(("top1", "top5", "top1_pruned", "test_top1", "test_top5"), ".4f"),
    **{name: ".3f" for name, unit in METRIC_UNITS.items() if unit == "ms"},
    **dict.fromkeys(("macs_ratio", "params_ratio"), ".1%"),
}
_FRONT_COLUMNS = [
    "trial", "top1", "test_top1", "latency_p50_ms", "latency_p50_low_ms", "latency_p50_high_ms",
    "macs_ratio", "params_ratio", "size_bytes",
]  # fmt: skip
_COLUMNS = [
    "trial", "status", "top1", "test_top1", "top1_pruned", "latency_p50_ms", "latency_p90_ms",
    "latency_p99_ms", "throughput_fps", "macs_ratio", "params_ratio", "size_bytes", "epoch",
    "retrain_s", "queue_wait_s", "measure_s",
]  # fmt: skip


def all_sections(
    results: Results, *, budget_ms: float | None, unpruned: Measurement | None
) -> list[Section]:
    """The report's sections. Whatever there is nothing to say of is left out."""
    frame = to_frame(results)
    best = best_trial(frame)
    sections = [
        _trade(frame, budget_ms),
        _settings(frame),
        *([] if best is None else [_network(frame, best, unpruned)]),
        _training(results, frame),
        _time(frame),
        _spent(results, frame),
        _wrong(frame),
        _environment(results, best),
        _trials(frame),
    ]
    return [each for each in sections if each.texts or each.pictures or each.tables]


def _trade(frame: pd.DataFrame, budget_ms: float | None) -> Section:
    front = pareto_front(frame).iloc[::-1]
    number_of = dict(zip(frame["trial_id"], frame["trial"].astype(str), strict=True))
    ties = front["tied_with"].map(lambda ids: ", ".join(number_of[each] for each in ids.split()))
    shown = front[_FRONT_COLUMNS].assign(tied_with=ties)
    text = (
        "Each network on the front is beaten by no other in both accuracy and latency. Bars are "
        "95\N{NO-BREAK SPACE}% intervals of the median; trials whose latencies noise does not "
        "let one tell apart are named as tied."
    )
    draw = functools.partial(plots.plot_front, frame, budget_ms=budget_ms)
    return Section(
        title="What was traded for what",
        texts=[text if len(front) else "No feasible network was found, so there is no front."],
        pictures=[picture(draw, "Accuracy and latency", "Each mark is a trial.", wide=True)],
        tables=[_table(shown, id="front")] if len(front) else [],
    )


def _settings(frame: pd.DataFrame) -> Section:
    related = correlations(frame).dropna(how="all", subset=["latency_p50_ms", "top1"])
    if related.empty:
        return Section(title="Which settings matter")
    drawn: list[tuple[Callable[..., Axes], str, str, bool]] = [
        (plots.plot_ratio_latency, "Ratio and latency by group", "Each point is a trial.", False),
        (
            plots.plot_importance,
            "Importance",
            "How much of each figure a random forest explains by each setting.",
            False,
        ),
        (
            plots.plot_parallel_coordinates,
            "Settings and outcome",
            "Each line is a trial; grey ones do not know their accuracy.",
            True,
        ),
    ]
    named = related.rename_axis("setting").reset_index()
    return Section(
        title="Which settings matter",
        texts=[
            "Below: the correlation (Pearson) of each setting with latency and accuracy, over the "
            "n trials that know both. Among few trials, large ones come about by chance."
        ],
        pictures=[
            picture(functools.partial(draw, frame), title, text, wide=wide)
            for draw, title, text, wide in drawn
        ],
        tables=[_table(named, id="correlations")],
    )


def _network(frame: pd.DataFrame, best: pd.Series, unpruned: Measurement | None) -> Section:
    pictures = []
    plan = read_json(best, "plan.json")
    if plan:
        pictures = [
            picture(
                functools.partial(plots.plot_kept_channels, plan),
                "Kept channels by group",
                "Outlined: the unpruned network.",
            ),
        ]
    if plan.get("removed"):
        drawn = functools.partial(plots.plot_filters_removed, plan)
        text = "Which channels of each group were kept."
        pictures.append(picture(drawn, "Filters removed", text))
    before, after = unpruned or _measurement(baseline(frame)), _measurement(best)
    if before is not None and after is not None and before.layers and after.layers:
        drawn = functools.partial(plots.plot_layer_times, before, after)
        text = "By the runtime's profiler, in a run of its own."
        pictures.append(picture(drawn, "Device time by layer", text, wide=True))
    title = f"What is left of the best network (trial {best['trial']})"
    return Section(title=title, pictures=pictures)


def _training(results: Results, frame: pd.DataFrame) -> Section:
    if frame["top1"].isna().all():
        return Section(title="Retraining")
    curves = picture(
        functools.partial(plots.plot_accuracy_curves, results),
        "Accuracy over epochs",
        "Each line is a trial.",
    )
    gain = picture(
        functools.partial(plots.plot_retraining, frame),
        "Before and after",
        "Points above the line gained by retraining.",
    )
    return Section(title="Retraining", pictures=[curves, gain])


def _time(frame: pd.DataFrame) -> Section:
    area = "The area that the front dominates, of accuracy times latency."
    growth = [
        picture(
            functools.partial(plots.plot_hypervolume, frame, over="trials"),
            "What the search gained over trials",
            area,
        ),
        picture(
            functools.partial(plots.plot_hypervolume, frame, over="retrain_s"),
            "What the search gained over retraining time",
            area,
        ),
    ]
    spans = [
        picture(functools.partial(draw, frame), title, text, wide=True)
        for draw, title, text in (
            (plots.plot_timeline, "Timeline", "Orange is waiting for a device."),
            (plots.plot_occupancy, "Devices", "When each measured, and who waited."),
        )
    ]
    return Section(title="How it went", pictures=growth + (spans if any(frame["spans"]) else []))


def _spent(results: Results, frame: pd.DataFrame) -> Section:
    sums = spent(frame)
    record = run_record(results)
    joules = "not noted: RunRecordCallback was not used"
    if record:
        energy = record["energy_j"].values()
        joules = f"{sum(energy):,.0f} J" if energy else "not readable on the driver's host"
    rows = {
        "elapsed": _duration(sums.elapsed_s),
        "retraining": _duration(sums.retrain_s),
        "devices measuring": f"{_duration(sums.device_s)} in {sums.measurements} measurements",
        "waiting for devices": _duration(sums.queue_s),
        "epochs of retraining": f"{sums.epochs}",
        "epochs saved by the latency gate": f"{sums.saved_by_gate}",
        "epochs saved by early stopping": f"{sums.saved_by_stop}",
        "sent to devices": f"{sums.moved_bytes / 1e6:.1f} MB",
        "energy of the driver's processors (RAPL)": joules,
    }
    return Section(title="What was spent", tables=[_pairs(rows)])


def _wrong(frame: pd.DataFrame) -> Section:
    wrong = frame["status"].isin(["failed", "unsupported", "collapsed", "unfinished"])
    doubtful = frame["flags"] != ""
    rows = frame.loc[wrong | doubtful, ["trial", "trial_id", "status", "reason", "flags"]]
    if rows.empty:
        return Section(title="What went wrong", texts=["Nothing: no trial failed."])
    return Section(title="What went wrong", tables=[_table(rows, id="wrong")])


def _environment(results: Results, best: pd.Series | None) -> Section:
    record = run_record(results)
    rows: dict[str, str] = {}
    for name in ("python", "system"):
        if name in record:
            rows[name] = record[name]
    for node in record.get("nodes", []):
        amounts = [_amount(*each) for each in node["resources"].items()]
        rows[f"node {node['host']}"] = ", ".join(amounts)
    versions = record.get("versions", {})
    if best is not None:
        versions = {**versions, **read_json(best, "manifest.json").get("versions", {})}
        measurement = _measurement(best)
        if measurement is not None:
            rows["device"] = f"{measurement.device_id}: {measurement.device_name}"
            rows["runtime"] = f"{measurement.runtime}, {measurement.precision}, " + (
                f"threads {measurement.threads}, streams {measurement.streams}"
            )
    rows |= {str(name): str(version) for name, version in versions.items()}
    return Section(title="Environment", tables=[_pairs(rows)] if rows else [])


def _trials(frame: pd.DataFrame) -> Section:
    config = [name for name in frame.columns if name.startswith(CONFIG)]
    rows = frame[[*_COLUMNS, "reason", *config]]
    rows = rows.rename(columns={name: name.removeprefix(CONFIG) for name in config})
    on_front = set(pareto_front(frame)["trial_id"])
    marked = {at for at, trial_id in enumerate(frame["trial_id"]) if trial_id in on_front}
    return Section(
        title="All trials",
        texts=["Click a column's name to sort. Blue rows are on the front."],
        tables=[_table(rows, id="trials", marked=marked)],
    )


def _table(frame: pd.DataFrame, *, id: str, marked: set[int] | None = None) -> Table:  # noqa: A002
    return table(frame, id=id, formats=_FORMATS, help=METRIC_UNITS, marked=marked)


def _pairs(rows: dict[str, str]) -> Table:
    return table(pd.DataFrame({"": list(rows), " ": list(rows.values())}))


def _measurement(row: pd.Series | None) -> Measurement | None:
    values = {} if row is None else read_json(row, "measurement.json")
    try:
        return Measurement.from_dict(values) if values else None
    except ValueError:
        return None


def _amount(resource: str, amount: float) -> str:
    return f"memory {amount / 2**30:.0f} GiB" if resource == "memory" else f"{resource} {amount:g}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
