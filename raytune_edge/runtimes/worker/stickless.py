"""Compiles for a Neural Compute Stick 2 that is not there: OpenVINO 2021.4's own compiler.

Hides how that is done, and sees to it that no stick of this host is touched: libusb is told to
discover no device in this process, and the plugin to wait for none. It compiles the whole network
and then complains that it has no device, which means that all went well.
"""

import ctypes
import faulthandler
import os
import shutil
import sys
import time

import legacy
import protocol

NO_DEVICE_DISCOVERY = 2
"""libusb's option, since 1.0.24 of 2020."""

COMPILED = "no available devices with platform 2480"

SETTINGS = {
    "VPU_MYRIAD_PLATFORM": "VPU_MYRIAD_2480",
    "MYRIAD_DEVICE_CONNECT_TIMEOUT": "-1",
    "MYRIAD_DUMP_ALL_PASSES": "NO",
}


def without_usb():
    """Make this process one that sees no USB device, whatever loads libusb."""
    try:
        refused = ctypes.CDLL("libusb-1.0.so.0").libusb_set_option(None, NO_DEVICE_DISCOVERY) != 0
    except (AttributeError, OSError):  # before 1.0.22 it has no such function at all
        refused = True
    if refused:
        raise ImportError(
            "expected libusb 1.0.24 or newer, which can be kept off the sticks of this host, got "
            "none or an older one; get it: sudo apt install libusb-1.0-0"
        )


class Runtime(legacy.Runtime):
    """Compiles models for no stick."""

    def __init__(self, options):
        without_usb()
        super().__init__(options)

    def compile(self, model, folder, streams):
        """Leave ``stages.dot`` and ``compiled.blob`` in ``folder``.

        ``streams`` 0 is the plugin's default. Inputs and outputs are FP16, as when measured.
        """
        cache = os.path.join(folder, "cache")
        settings = dict(SETTINGS)
        settings["MYRIAD_DUMP_INTERNAL_GRAPH_FILE_NAME"] = os.path.join(folder, "stages.dot")
        if streams:
            settings["MYRIAD_THROUGHPUT_STREAMS"] = str(streams)
        legacy.use_fp16(model)
        self.core.set_config({"CACHE_DIR": cache}, "")
        try:
            self.core.load_network(model, legacy.STICK, settings)
        except RuntimeError as error:
            if COMPILED not in str(error):
                raise legacy.refusal(error, "the stick's compiler refuses this model") from error
        (blob,) = os.listdir(cache)
        with open(os.path.join(cache, blob), "rb") as cached:
            cached.readline()  # what the cache writes in front
            with open(os.path.join(folder, "compiled.blob"), "wb") as file:
                shutil.copyfileobj(cached, file)


class Worker(protocol.Worker):
    """Answers ``compile`` and ``write_ir``."""

    operations = ("compile", "write_ir")

    def write_ir(self, request):
        """Write the request's ``model`` as ``xml``, and its weights beside it as ``.bin``."""
        model = self.runtime.read(request["model"], None)
        model.serialize(request["xml"], os.path.splitext(request["xml"])[0] + ".bin")
        return {}

    def compile(self, request):
        """Compile the request's ``model`` into its ``folder``."""
        faulthandler.dump_traceback_later(request["limit_s"], exit=True)
        try:
            start = time.perf_counter()
            model = self.runtime.read(request["model"], None)
            self.runtime.compile(model, request["folder"], request["streams"])
            return {
                "compile_s": time.perf_counter() - start,
                "runtime": self.runtime.version,
                "python": sys.version.split()[0],
            }
        finally:
            faulthandler.cancel_dump_traceback_later()
