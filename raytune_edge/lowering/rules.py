"""How each operator that opset 13 lacks, or means otherwise, is said in it."""

from __future__ import annotations

import math

from raytune_edge.lowering.rewriter import Rewriter, Rule

__all__ = ["ALWAYS", "RULES"]

ALWAYS = frozenset(["HardSigmoid", "MaxPool"])
"""What the stick's runtime lacks, or gets wrong, in any opset."""

_CLIP_TAKES_INPUTS = 11


def _hard_sigmoid(write: Rewriter) -> None:
    alpha, beta = write.attribute("alpha", 0.2), write.attribute("beta", 0.5)
    if alpha <= 0:
        raise write.refusal("only one that rises is known here")
    _gate(write, beta / alpha, 1 / alpha, output=write.node.output[0])


def _hard_swish(write: Rewriter) -> None:
    gate = _gate(write, 3, 6)
    write.say("Mul", write.node.input[0], gate, output=write.node.output[0])


def _gate(write: Rewriter, shift: float, top: float, output: str = "") -> str:
    """HardSigmoid in the form that OpenVINO, old and new, knows again and fuses."""
    if write.opset < _CLIP_TAKES_INPUTS:
        raise write.refusal("only that of opset 11 and newer is known here")
    shifted = write.say("Add", write.node.input[0], shift)
    clipped = write.say("Clip", shifted, 0.0, top)
    return write.say("Mul", clipped, 1 / top, output=output)


def _gelu(write: Rewriter) -> None:
    x = write.node.input[0]
    if write.attribute("approximate", b"none") == b"none":
        bent = write.say("Erf", write.say("Div", x, math.sqrt(2)))
    else:
        cube = write.say("Mul", write.say("Mul", write.say("Mul", x, x), x), 0.044715)
        bent = write.say(
            "Tanh", write.say("Mul", write.say("Add", x, cube), math.sqrt(2 / math.pi))
        )
    write.say(
        "Mul", write.say("Mul", x, write.say("Add", bent, 1)), 0.5, output=write.node.output[0]
    )


def _mish(write: Rewriter) -> None:
    x = write.node.input[0]
    write.say("Mul", x, write.say("Tanh", write.say("Softplus", x)), output=write.node.output[0])


def _layer_normalization(write: Rewriter) -> None:
    if len(write.node.output) > 1:
        raise write.refusal("its mean and deviation are asked for")
    x, scale, *bias = write.node.input
    rank, axis = len(write.shape()), write.attribute("axis", -1)
    axes = list(range(axis if axis < 0 else axis - rank, 0))
    apart = write.say("Sub", x, write.say("ReduceMean", x, axes=axes))
    variance = write.say("ReduceMean", write.say("Mul", apart, apart), axes=axes)
    deviation = write.say("Sqrt", write.say("Add", variance, write.attribute("epsilon", 1e-5)))
    scaled = ["Mul", write.say("Div", apart, deviation), scale]
    if bias and bias[0]:
        scaled = ["Add", write.say(*scaled), bias[0]]
    write.say(*scaled, output=write.node.output[0])


def _reduce(write: Rewriter) -> None:
    axes = write.numbers(1)
    if not axes and write.attribute("noop_with_empty_axes"):
        write.say("Identity", write.node.input[0], output=write.node.output[0])
    else:
        said = {"axes": axes} if axes else {}
        write.keep("noop_with_empty_axes", inputs=write.node.input[:1], **said)


def _reshape(write: Rewriter) -> None:
    if write.attribute("allowzero") and 0 in (write.numbers(1) or ()):
        raise write.refusal("its result is empty (allowzero=1 and a size of 0)")
    write.keep("allowzero")


def _split(write: Rewriter) -> None:
    parts = write.attribute("num_outputs")
    size = write.shape()[write.attribute("axis", 0)] if parts else 0
    if parts and not size:
        raise write.refusal("the size of what it splits depends on the model's input")
    if parts and size % parts:
        each = math.ceil(size / parts)
        sizes = [min(each, size - each * part) for part in range(parts)]
        write.keep("num_outputs", inputs=[write.node.input[0], write.constant(sizes)])
    else:
        write.keep("num_outputs")


def _pad(write: Rewriter) -> None:
    if write.attribute("mode") == b"wrap":
        raise write.refusal("it has no mode 'wrap'")
    axes, pads = write.numbers(3), write.numbers(1) or []
    if axes is None:
        return write.keep()
    rank = len(write.shape())
    everywhere = [0] * (2 * rank)
    for place, axis in enumerate(axes):
        everywhere[axis % rank] = pads[place]
        everywhere[axis % rank + rank] = pads[place + len(axes)]
    data, _, value, _ = write.node.input
    return write.keep(inputs=[data, write.constant(everywhere), value])


def _average_pool(write: Rewriter) -> None:
    plain = set(write.attribute("dilations", [1])) == {1}
    write.keep(*(["dilations"] if plain else []))


def _max_pool(write: Rewriter) -> None:
    if set(write.attribute("dilations", [1])) != {1}:
        raise write.refusal("that runtime ignores its dilations")
    write.keep()


def _resize(write: Rewriter) -> None:
    if write.attribute("coordinate_transformation_mode") == b"half_pixel_symmetric":
        raise write.refusal("it has no half_pixel_symmetric")
    write.keep()


def _changed(write: Rewriter) -> None:
    raise write.refusal("it means something else there")


_REDUCTIONS = (
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean"),
    *("ReduceMin", "ReduceProd", "ReduceSumSquare"),
)

RULES: dict[str, Rule] = {
    "AveragePool": _average_pool,
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "LayerNormalization": _layer_normalization,
    "MaxPool": _max_pool,
    "Mish": _mish,
    "Pad": _pad,
    **dict.fromkeys(_REDUCTIONS, _reduce),
    "Reshape": _reshape,
    "Resize": _resize,
    "RoiAlign": _changed,
    "Split": _split,
}
"""By operator; what is not here is kept if opset 13 means the same by it, else refused."""
