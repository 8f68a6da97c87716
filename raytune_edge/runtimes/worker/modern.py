"""OpenVINO's API since 2022: CPU, GPU, NPU. Hides how it reads, compiles and runs a model."""

import functools
import sys
import time

import common
import numpy
from protocol import SEED, BadRequest, last_line

# OpenVINO's telemetry forks this process when imported: onto the core that measures, with the pipe
# of the answers held open after our death. Without it, OpenVINO takes a stub.
sys.modules["openvino_telemetry"] = None
try:
    import openvino
except ImportError as error:
    message = "{}; install OpenVINO: {} -m pip install 'openvino>=2024.6'"
    raise ImportError(message.format(error, sys.executable)) from error

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

SETTINGS = {"INFERENCE_PRECISION_HINT": "precision", "INFERENCE_NUM_THREADS": "threads"}
"""OpenVINO's options that the caller chooses, and their names in `raytune_edge.Timing`: a message
that names one of them is about the caller's choice."""


def refusal(error, message):
    """The exception for OpenVINO's ``error``, by whose fault it is; its words end ``message``."""
    return common.refusal(error, message, common.says(error, DEVICE_TROUBLE))


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
            raise refusal(error, common.UNREADABLE) from error
        if input_shape is not None:
            reshape(model, input_shape)
        common.check_fixed({k: v for k, v in shapes(model).items() if v.is_dynamic})
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
            check_settings(error, device, settings)
            raise refusal(error, common.cannot_compile(device)) from error
        prove(compiled, device)
        return Model(compiled)


def check_settings(error, device, settings):
    """Whether OpenVINO's ``error`` is about a setting that the caller chose."""
    for option, name in SETTINGS.items():
        if option in str(error):
            message = "{} does not take Timing({}={!r}): {}"
            raise BadRequest(message.format(device, name, settings[name], last_line(error)))


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


def reshape(model, shape):
    """Fix the shape of the only input of ``model``, in place."""
    common.check_one_input(shapes(model))
    try:
        model.reshape(list(shape))
    except RuntimeError as error:
        raise refusal(error, common.cannot_take(shape)) from error


class Request:
    """One of a compiled model's requests.

    Methods of its own, kept as attributes of OpenVINO's request, would tie that to itself: it and
    its model would stay in memory until Python looks for such cycles.
    """

    def __init__(self, request):
        self.start, self.wait = request.start_async, request.wait


class Model:
    """A compiled model, its inputs filled with random numbers."""

    def __init__(self, compiled):
        self.compiled = compiled
        generator = numpy.random.RandomState(SEED)
        self.inputs = [
            openvino.Tensor(
                common.random_values(generator, each.shape, each.element_type.to_dtype())
            )
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
        return [Request(self._request()) for _ in range(max(1, count))]

    def layers(self):
        """Name, kind and milliseconds of each executed layer, a mean over inferences."""
        return common.mean_layers(self.infer, self._executed)

    def _executed(self):
        for each in self.request.get_profiling_info():
            if each.status == openvino.ProfilingInfo.Status.EXECUTED:
                yield each.node_name, each.node_type, each.real_time.total_seconds() * 1e3

    def logits(self, image):
        """The first output for one image (1, C, H, W)."""
        common.check_image([tuple(each.shape) for each in self.compiled.inputs], image)
        return self.compiled({0: image})[0]
