"""OpenVINO's API since 2022: CPU, GPU, NPU. Hides how it reads, compiles and runs a model."""

import functools
import sys
import time

import numpy
from protocol import SEED, BadRequest, UnsupportedModel, last_line

# OpenVINO's telemetry forks this process when imported: onto the core that measures, with the pipe
# of the answers held open after our death. Without it, OpenVINO takes a stub.
sys.modules["openvino_telemetry"] = None
import openvino  # noqa: E402

DEVICE_TROUBLE = (
    "is not registered",
    "Failed to load library",
    "Cannot load library",
    "bad_alloc",
    "out of memory",
    "CL_OUT_OF",
    "ZE_RESULT_ERROR",
)
"""In a message of OpenVINO: not the model's fault."""


def refusal(error, message):
    """The exception for OpenVINO's ``error``, by whose fault it is; its words end ``message``."""
    trouble = any(words in str(error) for words in DEVICE_TROUBLE)
    return (RuntimeError if trouble else UnsupportedModel)(message + ": " + last_line(error))


class Runtime:
    """Finds devices and compiles models for them."""

    clock = staticmethod(time.perf_counter)

    def __init__(self, options):
        self.core = openvino.Core()
        self.version = "openvino " + openvino.__version__.split("-")[0]

    def close(self):
        """Nothing is left open."""

    def devices(self):
        """Name and description of each device that this host has."""
        return {
            name: str(self.core.get_property(name, "FULL_DEVICE_NAME"))
            for name in self.core.available_devices
        }

    def read(self, path, input_shape):
        """The model in ``path``, its shape fixed."""
        try:
            model = self.core.read_model(path)
        except RuntimeError as error:
            message = "OpenVINO cannot read this model (is it a whole ONNX file?)"
            raise refusal(error, message) from error
        if input_shape is not None:
            reshape(model, input_shape)
        dynamic = {k: v for k, v in shapes(model).items() if v.is_dynamic}
        if dynamic:
            raise UnsupportedModel(
                "the shape of an input is dynamic ({}); export it with a fixed shape, or give the "
                "shape to measure: Timing(input_shape=(1, 3, 32, 32))".format(told(dynamic))
            )
        return model

    def compile(self, model, device, settings, throughput=False, profile=False):
        """The model, ready to run on ``device``."""
        asked = {"PERFORMANCE_HINT": "THROUGHPUT" if throughput else "LATENCY"}
        if not throughput and device.split(".")[0] in ("CPU", "GPU"):
            asked["NUM_STREAMS"] = "1"
        if profile:
            asked["PERF_COUNT"] = "YES"
        if settings["precision"]:
            asked["INFERENCE_PRECISION_HINT"] = settings["precision"]
        if settings["threads"] and device == "CPU":
            asked["INFERENCE_NUM_THREADS"] = str(settings["threads"])
        try:
            compiled = self.core.compile_model(model, device, asked)
        except RuntimeError as error:
            raise refusal(error, "OpenVINO cannot compile this model for " + device) from error
        prove(compiled, device)
        return Model(compiled)


def prove(compiled, device):
    """That ``compiled`` runs on ``device``, where the plugin tells."""
    try:
        told = [str(each) for each in compiled.get_property("EXECUTION_DEVICES")]
    except RuntimeError:
        return
    if any(each.split(".")[0] != device.split(".")[0] for each in told):
        message = "the model was asked for on {} and compiled for {}"
        raise RuntimeError(message.format(device, ", ".join(told)))


def shapes(model):
    """Name and shape of each input."""
    return {each.get_any_name(): each.partial_shape for each in model.inputs}


def told(named):
    """Names and shapes, for a message."""
    return ", ".join("{} {}".format(name, shape) for name, shape in sorted(named.items()))


def reshape(model, shape):
    """Fix the shape of the only input of ``model``, in place."""
    if len(model.inputs) != 1:
        raise BadRequest(
            "Timing(input_shape=...) is for a model with one input, this one has "
            + told(shapes(model))
        )
    try:
        model.reshape(list(shape))
    except RuntimeError as error:
        message = "the model cannot take Timing(input_shape={})".format(tuple(shape))
        raise refusal(error, message) from error


class Model:
    """A compiled model, its inputs filled with random numbers."""

    def __init__(self, compiled):
        self.compiled = compiled
        generator = numpy.random.RandomState(SEED)
        self.inputs = [
            openvino.Tensor(_random(generator, each.shape, each.element_type.to_dtype()))
            for each in compiled.inputs
        ]
        self.request = self._request()
        # Past the wrapper that takes NumPy inputs and copies outputs: of the 10 us that a call from
        # Python costs beside the inference, this leaves 5.
        native = super(openvino.InferRequest, self.request).infer
        self.infer = functools.partial(native, {}, True, False)  # shared outputs, strings raw

    def _request(self):
        request = self.compiled.create_infer_request()
        for index, tensor in enumerate(self.inputs):
            request.set_input_tensor(index, tensor)
        return request

    def _property(self, name, default=None):
        try:
            return self.compiled.get_property(name)
        except RuntimeError:
            return default

    def facts(self):
        """What the compiled model answers about itself, not what was asked for."""
        precision = str(self._property("INFERENCE_PRECISION_HINT", "unknown"))
        names = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
        plain = precision.replace("<Type: '", "").replace("'>", "")
        temperature = self._property("DEVICE_THERMAL")
        return {
            "precision": names.get(plain, plain),
            "threads": int(self._property("INFERENCE_NUM_THREADS", 0)),
            "streams": int(self._property("NUM_STREAMS", 1)),
            "temperature_c": None if temperature is None else float(temperature),
        }

    def requests(self):
        """As many requests as the runtime calls optimal, each with ``start`` and ``wait``."""
        count = int(self._property("OPTIMAL_NUMBER_OF_INFER_REQUESTS", 1))
        made = [self._request() for _ in range(max(1, count))]
        for request in made:
            request.start = request.start_async
        return made

    def layers(self):
        """Name, kind and milliseconds of each executed layer, the mean of ten inferences."""
        totals = {}
        for _ in range(10):
            self.infer()
            for each in self.request.get_profiling_info():
                if each.status == openvino.ProfilingInfo.Status.EXECUTED:
                    entry = totals.setdefault(each.node_name, [each.node_type, 0.0])
                    entry[1] += each.real_time.total_seconds() * 1e3 / 10
        return [{"name": name, "kind": kind, "ms": ms} for name, (kind, ms) in totals.items()]

    def logits(self, image):
        """The first output for one image (1, C, H, W)."""
        wanted = [tuple(each.shape) for each in self.compiled.inputs]
        if wanted != [image.shape]:
            message = "the model takes {}, the sample's images are {}"
            raise BadRequest(message.format(wanted, image.shape))
        return self.compiled({0: image})[0]


def _random(generator, shape, dtype):
    values = generator.random_sample(tuple(shape))
    return (values if dtype.kind == "f" else values * 2).astype(dtype)
