"""OpenVINO 2021.4's API: the Neural Compute Stick 2 (MYRIAD), and that release's CPU.

Hides how it reads, compiles and runs a model, and how a stick is opened, watched and closed. A
stick boots when the first network is loaded to it, and goes back to its boot loader when the plugin
is let go: then another process may open it.
"""

import gc
import time

import myriad
import numpy
import onnx_opset
from openvino.inference_engine import IECore, get_version
from protocol import SEED, BadRequest, UnsupportedModel, last_line

STICK = "MYRIAD"
NEWEST_OPSET = 13
"""What is newer is read as if it were this, and some layers compute something else then."""

MODEL_TROUBLE = ("NC_OUT_OF_MEMORY", "bigger than the device memory")
DEVICE_TROUBLE = (
    "NC_",
    "X_LINK",
    "Can not init Myriad device",
    "Myriad device: ",
    "no available devices",
    "Failed to allocate graph",
    "Failed to queue inference",
    "Failed to read output",
    "Failed to get",
    "Failed to create plugin",
    "Cannot load library",
    "bad_alloc",
)
"""In a message of OpenVINO: not the model's fault."""


def refusal(error, message):
    """The exception for OpenVINO's ``error``, by whose fault it is; its words end ``message``."""
    devices, models = (
        any(words in str(error) for words in each) for each in (DEVICE_TROUBLE, MODEL_TROUBLE)
    )
    trouble = devices and not models
    return (RuntimeError if trouble else UnsupportedModel)(message + ": " + last_line(error))


class Runtime:
    """Finds devices and compiles models for them."""

    clock = staticmethod(time.perf_counter)

    def __init__(self, options):
        self.core = IECore()
        self.version = "openvino " + get_version().split("-")[0]
        self.folders = options.stick.split(",") if options.stick else []
        self.stick = None

    def devices(self):
        """Name and description of each device; a stick that is ours is booted for it."""
        if self.folders:
            return {STICK: self.boot()}
        return {name: self.full_name(name) for name in self.core.available_devices}

    def full_name(self, device):
        """What ``device`` calls itself."""
        return str(self.core.get_metric(device, "FULL_DEVICE_NAME"))

    def boot(self):
        """Open our stick, unless it is open; how it calls itself, and the speed of its link."""
        if self.stick is None:
            stick = myriad.stick_id(self.core.get_metric(STICK, "AVAILABLE_DEVICES"), self.folders)
            self.name = self.full_name(STICK + "." + stick)
            nothing = self.core.read_network(myriad.NOTHING, b"", init_from_buffer=True)
            self.core.load_network(nothing, STICK, {"DEVICE_ID": stick})
            self.stick = stick
        mbps = myriad.usb_mbps(self.folders)
        return self.name + ("" if mbps is None else ", USB at {} Mbit/s".format(mbps))

    def read(self, path, input_shape):
        """The model in ``path``, its shape fixed."""
        opset = onnx_opset.of(path)
        if opset is not None and opset > NEWEST_OPSET:
            raise UnsupportedModel(
                "the model has ONNX opset {}, {} reads up to {}; export it with that one".format(
                    opset, self.version, NEWEST_OPSET
                )
            )
        try:
            model = self.core.read_network(path)
        except RuntimeError as error:
            message = "OpenVINO cannot read this model (is it a whole ONNX file?)"
            raise refusal(error, message) from error
        if input_shape is not None:
            reshape(model, input_shape)
        dynamic = sorted(name for name, shape in shapes(model).items() if 0 in shape or not shape)
        if dynamic:
            raise UnsupportedModel(
                "the shape of input {} is dynamic; export it with a fixed shape, or give the "
                "shape to measure: Timing(input_shape=(1, 3, 32, 32))".format(", ".join(dynamic))
            )
        return model

    def compile(self, model, device, settings, throughput=False, profile=False):
        """The model, ready to run on ``device``."""
        asked = {"PERF_COUNT": "YES"} if profile else {}
        if device == STICK:
            self.boot()
            asked["DEVICE_ID"] = self.stick
            if not throughput:
                asked["MYRIAD_THROUGHPUT_STREAMS"] = "1"
            use_fp16(model)
        elif device == "CPU":
            streams = "CPU_THROUGHPUT_AUTO" if throughput else "1"
            asked["CPU_THROUGHPUT_STREAMS"] = streams
            if settings["threads"]:
                asked["CPU_THREADS_NUM"] = str(settings["threads"])
            if settings["precision"]:
                asked["ENFORCE_BF16"] = "YES" if settings["precision"] == "bf16" else "NO"
        try:
            # 0 requests: as many as the plugin calls optimal
            compiled = self.core.load_network(model, device, asked, num_requests=0)
        except RuntimeError as error:
            raise refusal(error, "OpenVINO cannot compile this model for " + device) from error
        if device == STICK:
            self.prove(compiled)
        return Model(compiled, self.folders)

    def prove(self, compiled):
        """That ``compiled`` is for a stick and nothing else: only sticks tell this temperature."""
        metrics = compiled.get_metric("SUPPORTED_METRICS")
        if "DEVICE_THERMAL" not in metrics:
            raise RuntimeError("the model was asked for on MYRIAD and compiled for something else")

    def close(self):
        """Let the plugin go, which resets the stick; networks must be gone."""
        self.core = None
        gc.collect()


def shapes(model):
    """Name and shape of each input."""
    return {name: list(each.input_data.shape) for name, each in model.input_info.items()}


def reshape(model, shape):
    """Fix the shape of the only input of ``model``, in place."""
    names = sorted(model.input_info)
    if len(names) != 1:
        raise BadRequest(
            "Timing(input_shape=...) is for a model with one input, this one has "
            + ", ".join(names)
        )
    try:
        model.reshape({names[0]: tuple(shape)})
    except RuntimeError as error:
        message = "the model cannot take Timing(input_shape={})".format(tuple(shape))
        raise refusal(error, message) from error


def use_fp16(model):
    """Take and give FP16, as the stick computes: else it converts, and twice as much travels."""
    for each in list(model.input_info.values()) + list(model.outputs.values()):
        if each.precision == "FP32":
            each.precision = "FP16"


class Request:
    """One of a compiled model's requests."""

    def __init__(self, model, request):
        self.model = model  # its network must outlive it
        self.start = request.async_infer
        self.native = request

    def wait(self):
        """Until the request that was started has ended."""
        status = self.native.wait(-1)
        if status != 0:
            raise RuntimeError("a request ended with status {}".format(status))


class Model:
    """A compiled model, the inputs of all its requests filled with random numbers."""

    def __init__(self, compiled, folders=()):
        self.compiled, self.folders = compiled, folders
        self.request = compiled.requests[0]
        self.infer = self.request.infer
        generator = numpy.random.RandomState(SEED)
        first = {name: blob.buffer for name, blob in sorted(self.request.input_blobs.items())}
        values = {name: _random(generator, each) for name, each in first.items()}
        for request in compiled.requests:
            for name, blob in request.input_blobs.items():
                blob.buffer[...] = values[name]

    def facts(self):
        """What the compiled model answers about itself, not what was asked for."""
        if "DEVICE_THERMAL" in self.compiled.get_metric("SUPPORTED_METRICS"):
            return {
                "precision": "f16",  # the only one that a stick has
                "threads": 0,
                "streams": 1,  # the plugin tells nobody; asked for, and what the compiler obeys
                "temperature_c": float(self.compiled.get_metric("DEVICE_THERMAL")),
                "usb_mbps": myriad.usb_mbps(self.folders),
            }
        config = self.compiled.get_config
        return {
            "precision": "bf16" if config("ENFORCE_BF16") == "YES" else "f32",
            "threads": int(config("CPU_THREADS_NUM")),
            "streams": int(config("CPU_THROUGHPUT_STREAMS")),
            "temperature_c": None,
        }

    def requests(self):
        """As many requests as the runtime calls optimal, each with ``start`` and ``wait``."""
        return [Request(self, each) for each in self.compiled.requests]

    def layers(self):
        """Name, kind and milliseconds of each executed layer, the mean of ten inferences."""
        totals = {}
        for _ in range(10):
            self.infer()
            for name, each in self.request.get_perf_counts().items():
                if each["status"] == "EXECUTED":
                    entry = totals.setdefault(name, [each["layer_type"], 0.0])
                    entry[1] += each["real_time"] / 1e3 / 10
        return [{"name": name, "kind": kind, "ms": ms} for name, (kind, ms) in totals.items()]

    def logits(self, image):
        """The first output for one image (1, C, H, W)."""
        blobs = list(self.request.input_blobs.values())
        wanted = [tuple(blob.buffer.shape) for blob in blobs]
        if wanted != [image.shape]:
            message = "the model takes {}, the sample's images are {}"
            raise BadRequest(message.format(wanted, image.shape))
        kept = blobs[0].buffer.copy()
        blobs[0].buffer[...] = image
        self.infer()
        blobs[0].buffer[...] = kept
        return next(iter(self.request.output_blobs.values())).buffer.astype(numpy.float32)


def _random(generator, like):
    values = generator.random_sample(like.shape)
    return (values if like.dtype.kind == "f" else values * 2).astype(like.dtype)
