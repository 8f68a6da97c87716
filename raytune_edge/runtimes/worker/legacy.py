"""OpenVINO 2021.4's API: the Neural Compute Stick 2 (MYRIAD), and that release's CPU.

Hides how it reads, compiles and runs a model, and how a stick is opened, watched and closed. A
stick boots when the first network is loaded to it, and goes back to its boot loader when the plugin
is let go: then another process may open it.
"""

import gc
import re
import time

import common
import myriad
import numpy
import onnx_opset
from protocol import SEED, UnsupportedModel

try:
    from openvino.inference_engine import IECore, get_version
except ImportError as error:
    message = "{}; make the environment of OpenVINO 2021.4.2: raytune-edge ncs2 install"
    raise ImportError(message.format(error)) from error

STICK = "MYRIAD"
NEWEST_OPSET = 13
"""What is newer is read as if it were this, and some layers compute something else then."""

HOST_TROUBLE = ("bad_alloc",)
MODEL_TROUBLE = (
    "NC_OUT_OF_MEMORY",
    "bigger than the device memory",
    "Failed to compile layer",
    "unsupported layer type",
    "does not support the following ONNX",
)
DEVICE_TROUBLE = (
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
)
STATUS = re.compile(r"\bNC_[A-Z]")
"""In a message of OpenVINO: whose fault it is. The model's words come before the device's, as they
go with names of layers, and a layer may be called ``ENC_1``."""


def refusal(error, message):
    """The exception for OpenVINO's ``error``, by whose fault it is; its words end ``message``."""
    return common.refusal(error, message, devices_fault(error))


def devices_fault(error):
    """Whether OpenVINO's ``error`` says nothing about the model."""
    if common.says(error, HOST_TROUBLE):
        return True
    if common.says(error, MODEL_TROUBLE):
        return False
    return common.says(error, DEVICE_TROUBLE) or STATUS.search(str(error)) is not None


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
        check_words(path, self.version)
        try:
            model = self.core.read_network(path)
        except RuntimeError as error:
            raise refusal(error, common.UNREADABLE) from error
        if input_shape is not None:
            reshape(model, input_shape)
        common.check_fixed({k: v for k, v in shapes(model).items() if 0 in v or not v})
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
            raise refusal(error, common.cannot_compile(device)) from error
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


def check_words(path, version):
    """Refuse an ONNX file that ``version`` would take for another network than it is."""
    opset = onnx_opset.of(path)
    if opset is None:
        raise UnsupportedModel(common.UNREADABLE + ": it tells no opset of ONNX")
    if opset > NEWEST_OPSET:
        raise UnsupportedModel(
            "the model has ONNX opset {}, {} reads up to {}; export it with that one".format(
                opset, version, NEWEST_OPSET
            )
        )
    pool = onnx_opset.dilated_pool(path)
    if pool is not None:
        message = "MaxPool ({}) has dilations, which {} ignores"
        raise UnsupportedModel(message.format(pool, version))


def shapes(model):
    """Name and shape of each input."""
    return {name: list(each.input_data.shape) for name, each in model.input_info.items()}


def reshape(model, shape):
    """Fix the shape of the only input of ``model``, in place."""
    common.check_one_input(shapes(model))
    try:
        model.reshape({name: tuple(shape) for name in model.input_info})
    except RuntimeError as error:
        raise refusal(error, common.cannot_take(shape)) from error


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
        values = {
            name: common.random_values(generator, each.shape, each.dtype)
            for name, each in first.items()
        }
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
        """Name, kind and milliseconds of each executed layer, a mean over inferences."""
        return common.mean_layers(self.infer, self._executed)

    def _executed(self):
        for name, each in self.request.get_perf_counts().items():
            if each["status"] == "EXECUTED":
                yield name, each["layer_type"], each["real_time"] / 1e3

    def logits(self, image):
        """The first output for one image (1, C, H, W)."""
        blobs = list(self.request.input_blobs.values())
        common.check_image([tuple(blob.buffer.shape) for blob in blobs], image)
        kept = blobs[0].buffer.copy()
        blobs[0].buffer[...] = image
        self.infer()
        blobs[0].buffer[...] = kept
        return next(iter(self.request.output_blobs.values())).buffer.astype(numpy.float32)
