"""What the child answers to each request, whatever its runtime is.

Requests are lines ``{"id", "op", ...}``, answers are lines ``{"id", "ok", "result"}`` or
``{"id", "ok", "error": {"type", "message", "trace"}}``, where the type is ``unsupported`` (the
model's fault), ``request`` (the caller's), ``runtime`` (what drives the device is missing) or
``device`` (all else). The answer to ``measure`` carries the request's nonce and the hash of the
bytes that were read, so that the parent can tell whose it is.
"""

import faulthandler
import hashlib
import json
import os
import sys
import time
import traceback

import numpy
from loop import Pressure, time_latency, time_throughput

SEED = 0
"""Of the random inputs."""


DEADLINE_MARGIN_S = 5.0
"""The parent ends a child that misses its deadline; this much later the child ends itself."""


class UnsupportedModel(Exception):  # noqa: N818 - an error only to the parent
    """The runtime refuses the model: evidence about the model, not about the device."""


class BadRequest(Exception):  # noqa: N818
    """The request doesn't fit the model: the caller's mistake."""


def kind(error):
    """Whose fault an error is, in the protocol's words."""
    if isinstance(error, UnsupportedModel):
        return "unsupported"
    if isinstance(error, ImportError):
        return "runtime"
    return "request" if isinstance(error, BadRequest) else "device"


def last_line(error):
    """The last line of an error that says something; the first ones name the runtime's files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def accuracy(compiled, path):
    """Top-1 and top-5 on the device, of the images and labels in the file ``path``."""
    with numpy.load(path) as sample:
        images, labels = sample["images"], sample["labels"]
    if labels.ndim != 1 or not 0 < len(labels) == len(images):
        message = "expected a sample of as many labels as images, got arrays of shapes {} and {}"
        raise BadRequest(message.format(labels.shape, images.shape))
    top1 = top5 = 0
    for image, label in zip(images, labels):  # noqa: B905 - Python 3.6 has no strict=
        ranked = numpy.argsort(compiled.logits(image[None]).ravel())[::-1][:5]
        top1 += int(ranked[0] == label)
        top5 += int(label in ranked)
    return {"top1": top1 / len(labels), "top5": top5 / len(labels)}


def measure(runtime, device, request):
    """All figures of one model; carries the request's nonce and the hash of what was read."""
    settings = request["settings"]
    start = time.perf_counter()
    with open(request["model"], "rb") as file:
        sha256 = hashlib.sha256(file.read()).hexdigest()
    model = runtime.read(request["model"], settings["input_shape"])
    read_s = time.perf_counter() - start
    start = time.perf_counter()
    compiled = runtime.compile(model, device, settings)
    compile_s = time.perf_counter() - start
    start = time.perf_counter()
    compiled.infer()
    first_ms = (time.perf_counter() - start) * 1e3
    scored = accuracy(compiled, request["sample"]) if request.get("sample") else {}
    pressure = getattr(runtime, "pressure", Pressure)
    result = time_latency(compiled.infer, settings, runtime.clock, pressure)
    result.update(scored)
    result.update(compiled.facts())
    result.update(read_s=read_s, compile_s=compile_s, first_inference_ms=first_ms)
    del compiled  # a stick has no room for all of them at once
    if settings["throughput_s"] > 0:
        requests = runtime.compile(model, device, settings, throughput=True).requests()
        result["throughput_fps"] = time_throughput(
            requests, settings["throughput_s"], runtime.clock
        )
        result["requests_in_flight"] = len(requests)
        del requests
    else:
        result["throughput_fps"] = len(result["samples_ms"]) / result["timed_s"]
        result["requests_in_flight"] = 1
    if settings["profile"]:
        profiled = runtime.compile(model, device, settings, profile=True)
        profiled.infer()
        result["layers"] = profiled.layers()
    result.update(nonce=request["nonce"], model_sha256=sha256)
    return result


class Worker:
    """Answers requests about one device."""

    operations = ("hello", "measure")

    def __init__(self, runtime, device):
        self.runtime, self.device = runtime, device

    def hello(self, request):
        devices = self.runtime.devices()
        # "GPU" is the first of GPU.0 and GPU.1, but "GPU.7" is none of them.
        first = [name for name in sorted(devices) if name.split(".")[0] == self.device][:1]
        name = self.device if self.device in devices else "".join(first)
        return {
            "runtime": self.runtime.version,
            "device_name": devices.get(name),
            "devices": devices,
            "python": "{}.{}.{}".format(*sys.version_info[:3]),
            "pid": os.getpid(),
        }

    def measure(self, request):
        # Works without the interpreter's lock, which a plugin may hold for ever: nobody else
        # would end a hanging child whose parent was killed.
        limit_s = request["settings"]["timeout_s"] + DEADLINE_MARGIN_S
        faulthandler.dump_traceback_later(limit_s, exit=True)
        try:
            return measure(self.runtime, self.device, request)
        finally:
            faulthandler.cancel_dump_traceback_later()

    def answer(self, request):
        """The answer to one request, errors included."""
        try:
            if request.get("op") not in self.operations:
                raise ValueError("unknown operation {!r}".format(request.get("op")))
            operation = getattr(self, request["op"])
            return {"id": request["id"], "ok": True, "result": operation(request)}
        except Exception as error:
            return failure(request, error)


class Absent:
    """Answers each request with why there is nothing to drive the device with."""

    def __init__(self, error):
        self.error = error

    def answer(self, request):
        return failure(request, self.error)


def failure(request, error):
    """The answer that tells ``error``."""
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    told = {"type": kind(error), "message": str(error), "trace": trace}
    return {"id": request.get("id"), "ok": False, "error": told}


def serve(worker, requests, answers):
    """Answer line by line until ``quit`` or the end of input."""
    worker.answers = answers
    for line in requests:
        request = json.loads(line)
        if request.get("op") == "quit":
            break
        answers.write(json.dumps(worker.answer(request)) + "\n")
        answers.flush()
