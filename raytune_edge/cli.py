"""The command ``raytune-edge``: one function for each subcommand, each a thin shell."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from raytune_edge.config import Timing
from raytune_edge.errors import MissingPrerequisiteError, RaytuneEdgeError
from raytune_edge.records import METRIC_UNITS, Measurement

__all__ = ["main"]

_HOST_LACKS = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand.

    Returns:
        0 if all is well, 1 for an error that is told in one line on standard error, if the doctor
        finds that nothing can be measured, and if the stick's compiler refuses a model; 3 if the
        host lacks what the stick's runtime is made from.
    """
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except (RaytuneEdgeError, OSError, ValueError) as error:
        print(f"raytune-edge {arguments.command}: {error}", file=sys.stderr)
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="raytune-edge", description="Tune a CNN's compression for the device it will run on."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    measure = commands.add_parser("measure", help="measure an ONNX model on this host's device")
    measure.add_argument("model", type=Path, metavar="MODEL.onnx")
    measure.add_argument("--device", default="CPU", help="OpenVINO's name for it (CPU)")
    measure.add_argument("--precision", help="inference precision to ask for, such as f32")
    measure.add_argument("--threads", type=int, default=1, help="inference threads on a CPU (1)")
    measure.add_argument(
        "--input-shape", type=_shape, metavar="N,C,H,W", help="for a model of dynamic shape"
    )
    measure.add_argument("--profile", action="store_true", help="per-layer times as well")
    measure.add_argument("--json", action="store_true", help="print the whole record as JSON")
    measure.set_defaults(run=_measure)

    doctor = commands.add_parser("doctor", help="tell what this host can measure on")
    doctor.add_argument("--device", help="a device that must be there, such as CPU")
    doctor.add_argument("--resource", default="ncs", help="the Ray resource to look for (ncs)")
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    doctor.set_defaults(run=_doctor)

    offer = commands.add_parser("resources", help="print this host's `ray start --resources`")
    offer.add_argument("--resource", default="ncs", help="the name of a device's resource (ncs)")
    offer.add_argument("--units", type=int, help="devices to offer (as many as there are sticks)")
    offer.set_defaults(run=_resources)

    report = commands.add_parser("report", help="write an experiment's report as one HTML file")
    report.add_argument("experiment", type=Path, metavar="RUN", help="Tune's experiment folder")
    report.add_argument("-o", "--output", type=Path, default=Path("report.html"))
    report.add_argument("--budget-ms", type=float, help="draw this latency budget")
    report.set_defaults(run=_report)

    verify = commands.add_parser("verify", help="check a bundle's files and measure it again")
    verify.add_argument("bundle", type=Path, metavar="BUNDLE")
    verify.add_argument("--no-measure", action="store_true", help="check the files only")
    verify.set_defaults(run=_verify)

    ncs2 = commands.add_parser("ncs2", help="the Neural Compute Stick 2").add_subparsers(
        dest="subcommand", required=True, metavar="COMMAND"
    )
    install = ncs2.add_parser("install", help="make the environment that its runtime needs")
    install.add_argument("--python", help="a Python 3.6 to 3.9 (looked for)")
    install.add_argument("--path", help="folder of the environment (the user's data folder)")
    install.set_defaults(run=_ncs2_install)
    check = ncs2.add_parser("check", help="compile a model for a stick without a stick")
    check.add_argument("model", type=Path, metavar="MODEL.onnx")
    check.add_argument("--streams", type=int, default=1, help="1 for latency (1), 0 for throughput")
    check.add_argument("--stages", action="store_true", help="tell each step of the stick as well")
    check.add_argument("--json", action="store_true", help="print the report as JSON")
    check.set_defaults(run=_ncs2_check)
    return parser


def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(each) for each in text.split(","))


def _measure(arguments: argparse.Namespace) -> int:
    from raytune_edge.devices.by_hand import instrument_for
    from raytune_edge.runtimes import read_model

    timing = Timing(
        precision=arguments.precision,
        threads=arguments.threads,
        input_shape=arguments.input_shape,
        profile=arguments.profile,
    )
    onnx_bytes = read_model(arguments.model)
    with instrument_for(arguments.device, threads=arguments.threads) as (instrument, doubt):
        if doubt:
            print(f"raytune-edge measure: {doubt}", file=sys.stderr)
        record = instrument.measure(onnx_bytes, timing)
    print(json.dumps(record.to_dict(), indent=2) if arguments.json else _table(record))
    return 0


def _table(record: Measurement) -> str:
    rows = []
    for name, value in _figures(record):
        if name in ("block_medians_ms", "layers") or value in (None, "", ()):
            continue
        unit = METRIC_UNITS.get(name, "ms" if name.endswith("_ms") else "")
        text = f"{value:.4g}" if isinstance(value, float) and name != "taken_at" else str(value)
        rows.append(f"{name:<22}{text} {unit}".rstrip())
    rows += [f"  {layer.ms:8.4f} ms  {layer.kind}  {layer.name}" for layer in record.layers]
    return "\n".join(rows)


def _figures(record: Measurement) -> Iterator[tuple[str, Any]]:
    """Names and values; the device's own time follows the latency that the caller sees."""
    for name, value in dataclasses.asdict(record).items():
        yield name, value
        if name == "latency_p50_ms":
            yield "device_latency_ms", record.device_latency_ms


def _doctor(arguments: argparse.Namespace) -> int:
    from raytune_edge.doctor import examine

    findings = []
    for finding in examine(arguments.device, resource=arguments.resource):
        findings.append(finding)
        if not arguments.json:
            print(f"{finding.level:<5}{finding.what}")
            if finding.mend:
                print(f"     mend: {finding.mend}")
    if arguments.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    return int(any(finding.level == "fail" for finding in findings))


def _resources(arguments: argparse.Namespace) -> int:
    from raytune_edge.devices.cluster import offered_by
    from raytune_edge.runtimes.ncs2.sticks import find_sticks

    units = len(find_sticks()) if arguments.units is None else arguments.units
    print(json.dumps(offered_by(units, arguments.resource)))
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from raytune_edge.analysis.report import report

    print(report(arguments.experiment, arguments.output, budget_ms=arguments.budget_ms))
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from raytune_edge.analysis.verify import verify_bundle

    print(verify_bundle(arguments.bundle, measure=not arguments.no_measure))
    return 0


def _ncs2_install(arguments: argparse.Namespace) -> int:
    from raytune_edge.runtimes.ncs2 import install

    try:
        install(arguments.python, arguments.path, tell=print)
    except MissingPrerequisiteError as error:
        print(f"raytune-edge ncs2 install: {error}", file=sys.stderr)
        return _HOST_LACKS
    return 0


def _ncs2_check(arguments: argparse.Namespace) -> int:
    from raytune_edge.ncs2.checking import check, table
    from raytune_edge.runtimes import read_model

    report = check(read_model(arguments.model), streams=arguments.streams)
    if arguments.json:
        kept = report if arguments.stages else dataclasses.replace(report, stages=())
        print(json.dumps(kept.to_dict(), indent=2))
    else:
        print(table(report, stages=arguments.stages))
    return int(not report.ok)


if __name__ == "__main__":
    sys.exit(main())
