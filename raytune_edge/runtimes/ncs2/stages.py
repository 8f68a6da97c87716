"""What the stick's compiler made of a network, read from the graph that it dumps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

__all__ = ["Memory", "Stage", "read_stages"]

_CLOCK_KHZ = 700e3
"""Of the stick's neural engine: assumed, as its default is nowhere told."""

_HARDWARE = "MyriadXHwOp"
_NODE = re.compile(r'^\s*(stage|data)_(0x\w+) \[\s.*?label="(.*?)"\s*\];', re.DOTALL | re.MULTILINE)
_OUTPUT = re.compile(r'stage_(0x\w+) -> data_(0x\w+) \[[^"]*label="StageOutput\\lportInd = 0\\l')
_NAME = re.compile(r"\[(-?\d+) / -?\d+\] Stage (.*?)\\ltype = (\w+)")
_DIMENSIONS = re.compile(r"\\l    dims = \[(.*?)\]")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step that the stick executes.

    Attributes:
        name: The compiler's name for it; a layer may be cut into several.
        layer: The network's layer that it comes from; "" if from none.
        kind: ``"hardware"`` runs on the neural engine, ``"software"`` on the vector processors,
            ``"copy"`` moves data.
        operation: Such as ``"CONV"``, ``"POOL"`` or ``"FC"`` in hardware, ``"Relu"`` in software.
        mode: How the neural engine shares its blocks between inputs and outputs; "" for others.
        descriptors: Jobs of the neural engine; 0 for others.
        output: Shape (N, C, H, W) of the first output.
        memory: Where that lies: ``"CMX"`` on the chip, ``"DDR"``, or ``"Output"``.
        predicted_ms: The compiler's cost of a hardware convolution as time, not calibrated; None
            for what it gives no cost for.
    """

    name: str
    layer: str
    kind: Literal["hardware", "software", "copy"]
    operation: str
    mode: str
    descriptors: int
    output: tuple[int, ...]
    memory: str
    predicted_ms: float | None


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What a network takes of the stick's memory: ``cmx_bytes`` on the chip, and DDR beside it."""

    cmx_bytes: int
    ddr_bytes: int


def read_stages(dump: str) -> tuple[tuple[Stage, ...], Memory]:
    r"""The stages in the order they run, and the memory they use.

    The plugin writes a graph for Graphviz, whose labels hold all it knows. A stage's cost times
    the width and height of its output is its time in cycles of the neural engine; the cost of
    several descriptors is in it already.

    Raises:
        ValueError: If ``dump`` is no such graph.

    Example:
        >>> dump = '''label="Graph g\\l  usedMemory = [\\l    BSS = 64\\l    CMX = 128\\l"
        ... stage_0x1 [ shape=box label="[0 / 0] Stage a\\ltype = Relu\\l" ];
        ... data_0x2 [ label="Data b\\l    dims = [C : 8, N : 1]\\ldataLocation = BSS\\l" ];
        ... stage_0x1 -> data_0x2 [ label="StageOutput\\lportInd = 0\\l" ];'''
        >>> (stage,), memory = read_stages(dump)
        >>> stage.kind, stage.output, stage.memory, memory.cmx_bytes
        ('software', (1, 8), 'DDR', 128)
    """
    labels = {(kind, key): label for kind, key, label in _NODE.findall(dump)}
    outputs = {stage: labels["data", data] for stage, data in _OUTPUT.findall(dump)}
    try:
        memory = Memory(
            cmx_bytes=int(_value(dump, "CMX", r"\d+")), ddr_bytes=int(_value(dump, "BSS", r"\d+"))
        )
        stages = sorted(_stages(labels, outputs), key=lambda each: each[0])
    except (KeyError, TypeError) as error:
        raise ValueError(f"expected the stick's compiled graph, got another: {error}") from error
    return tuple(stage for _, stage in stages), memory


def _stages(
    labels: dict[tuple[str, str], str], outputs: dict[str, str]
) -> Iterator[tuple[int, Stage]]:
    """Each stage that is executed, with its place; others only give a view of data."""
    for (kind, key), label in labels.items():
        found = _NAME.match(label)
        if kind == "stage" and found and int(found[1]) >= 0:
            yield int(found[1]), _stage(found[2], found[3], label, outputs[key])


def _stage(name: str, operation: str, label: str, output: str) -> Stage:
    hardware = operation == _HARDWARE
    dimensions = _dimensions(output)
    cost = _value(label, "cost", r"[\d.e+]+", "")
    pixels = dimensions.get("W", 1) * dimensions.get("H", 1)
    return Stage(
        name=name,
        layer=_value(label, r"origLayer = \[\\l    name", r".*?(?=\\l)", ""),
        kind="hardware" if hardware else "copy" if operation == "Copy" else "software",
        operation=_value(label, "hwOpType", r"\w+", _HARDWARE) if hardware else operation,
        mode=_value(label, "mode", r"\w+", ""),
        descriptors=int(_value(label, "numDescr", r"\d+", "0")),
        output=tuple(dimensions[axis] for axis in "NDCHW" if axis in dimensions),
        memory={"BSS": "DDR"}.get(place := _value(output, "dataLocation", r"\w+"), place),
        predicted_ms=float(cost) * pixels / _CLOCK_KHZ if cost else None,
    )


def _dimensions(label: str) -> dict[str, int]:
    found = _DIMENSIONS.search(label)
    pairs = found[1].split(", ") if found else []
    return {axis: int(size) for axis, size in (pair.split(" : ") for pair in pairs)}


def _value(label: str, name: str, pattern: str, default: str | None = None) -> str:
    found = re.search(rf"(?:^|\\l|\s){name} = ({pattern})", label)
    if found is None and default is None:
        raise KeyError(name)
    return found[1] if found else str(default)
