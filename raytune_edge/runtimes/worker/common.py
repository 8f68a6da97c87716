"""What OpenVINO's two APIs have in common: the random inputs, and how their errors are told."""

import time

from protocol import BadRequest, UnsupportedModel, last_line

UNREADABLE = "OpenVINO cannot read this model (is it a whole ONNX file?)"
PROFILED, PROFILED_S = 10, 3.0
"""Inferences whose layers are averaged, and the seconds after which a slow network's are enough."""


def says(error, words):
    """Whether the message of ``error`` has any of these ``words``."""
    return any(each in str(error) for each in words)


def refusal(error, message, devices_fault):
    """The exception for OpenVINO's ``error``, by whose fault it is; its words end ``message``."""
    return (RuntimeError if devices_fault else UnsupportedModel)(message + ": " + last_line(error))


def cannot_compile(device):
    """How that begins."""
    return "OpenVINO cannot compile this model for " + device


def cannot_take(shape):
    """How a refused reshape begins."""
    return "the model cannot take Timing(input_shape={})".format(tuple(shape))


def told(named):
    """Names and shapes of inputs, for a message."""
    return ", ".join("{} {}".format(name, shape) for name, shape in sorted(named.items()))


def check_fixed(dynamic):
    """Refuse a model that has ``dynamic`` inputs, by name and shape."""
    if dynamic:
        raise UnsupportedModel(
            "the shape of an input is dynamic ({}); export it with a fixed shape, or give the "
            "shape to measure: Timing(input_shape=(1, 3, 32, 32)), or on the command line "
            "--input-shape 1,3,32,32".format(told(dynamic))
        )


def check_one_input(named):
    """That a model whose inputs are ``named`` has but one to give a shape to."""
    if len(named) != 1:
        raise BadRequest(
            "Timing(input_shape=...) is for a model with one input, this one has " + told(named)
        )


def check_image(wanted, image):
    """That an ``image`` of the sample, batch and all, is what the model's inputs take."""
    if wanted != [image.shape]:
        message = "the model takes {}, the sample's images are {}"
        raise BadRequest(message.format(wanted, image.shape))


def random_values(generator, shape, dtype):
    """Numbers in [0, 1), or zeros and ones where the input takes whole numbers."""
    values = generator.random_sample(tuple(shape))
    return (values if dtype.kind == "f" else values * 2).astype(dtype)


def mean_layers(infer, executed):
    """Name, kind and mean milliseconds of each layer.

    ``executed`` yields these three of each layer that the last inference ran.
    """
    totals, begin, done = {}, time.perf_counter(), 0
    while done < PROFILED and (done == 0 or time.perf_counter() - begin < PROFILED_S):
        infer()
        done += 1
        for name, kind, ms in executed():
            totals.setdefault(name, [kind, 0.0])[1] += ms
    return [{"name": name, "kind": kind, "ms": ms / done} for name, (kind, ms) in totals.items()]
