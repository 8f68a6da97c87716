"""A device that isn't there: figures on a clock of its own, and faults by script.

``--option`` names the JSON file that `raytune_edge.testing.FakeDevice` writes.
"""

import fcntl
import json
import os
import random
import signal
import sys
import time

import common
import fake_stick
import protocol


class Calm:
    """Nobody else wants the processor of a device that isn't there."""

    def since(self):
        return 0.0, 0.0


class Runtime:
    """Runs any model; what it takes is worked out from the script."""

    pressure = Calm

    def __init__(self, options):
        self.path = options.option
        with open(self.path) as file:
            self.script = json.load(file)
        self.version = "fake " + self.script["version"]
        self.now_s = 0.0
        self.done = 0
        self.device = options.device
        self.stick = None
        if options.stick:
            folders = options.stick.split(",")
            self.stick = fake_stick.FakeStick(folders, self.script["reboot_s"])

    def clock(self):
        return self.now_s

    def devices(self):
        if self.stick is not None:
            self.stick.boot()
        return {self.device: self.script["name"]}

    def close(self):
        if self.stick is not None:
            self.stick.close()

    def count(self):
        """How many measurements came before this one, in all processes that share the script."""
        with open(self.path + ".count", "a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            before = int(file.read() or 0)
            file.truncate(0)
            file.write(str(before + 1))
            return before

    def read(self, path, input_shape):
        if not self.script["any_model"]:
            check(path, input_shape)
        return os.path.getsize(path)

    def compile(self, size, device, settings, throughput=False, profile=False):
        return Model(self, size)


def check(path, input_shape):
    """Refuse what real runtimes refuse."""
    import onnx  # a quarter of a second that most scripts with any_model don't need
    from google.protobuf.message import DecodeError

    try:
        graph = onnx.load(path).graph
    except DecodeError as error:
        raise protocol.UnsupportedModel("not a whole ONNX file: {}".format(error)) from error
    if not graph.node:
        raise protocol.UnsupportedModel("not a whole ONNX file: it has no layers")
    shapes = {
        each.name: [dim.dim_value for dim in each.type.tensor_type.shape.dim]
        for each in graph.input
    }
    if input_shape is None:
        common.check_fixed({k: v for k, v in shapes.items() if min(v, default=1) <= 0})


class Model:
    """Takes the time that the script says, on the runtime's clock."""

    def __init__(self, runtime, size):
        script = runtime.script
        self.runtime = runtime
        self.random = random.Random(protocol.SEED)
        self.latency_s = (script["latency_ms"] + script["ms_per_megabyte"] * size / 1e6) / 1e3
        self.latency_s *= (1 + script["drift"]) ** runtime.done

    def infer(self):
        spread = self.runtime.script["spread"]
        self.runtime.now_s += self.latency_s * (1 + spread * self.random.uniform(-1, 1))

    start = infer

    def wait(self):
        """The request has ended: on this clock, starting it took all the time."""

    def facts(self):
        facts = {"precision": "f32", "threads": 1, "streams": 1, "temperature_c": 40.0}
        return dict(facts, usb_mbps=5000) if self.runtime.stick else facts

    def requests(self):
        return [self]

    def layers(self):
        return [{"name": "all", "kind": "Fake", "ms": self.latency_s * 1e3}]

    def logits(self, image):
        # Every network is the identity here: a sample can say what it wants to score.
        return image.ravel()


class Worker(protocol.Worker):
    """Does to each measurement what the script's next entry says."""

    last = {"nonce": "0" * 32, "model_sha256": "0" * 64}  # noqa: RUF012 - never changed in place

    def measure(self, request):
        script = self.runtime.script
        self.runtime.done = self.runtime.count()
        script.update({name: request[name] for name in ("latency_ms",) if name in request})
        faults = script["faults"]
        fault = faults[self.runtime.done] if self.runtime.done < len(faults) else "ok"
        time.sleep(script["busy_s"])
        if fault == "die":
            os._exit(1)
        elif fault == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif fault == "hang":
            time.sleep(1e6)
        elif fault == "error":
            raise RuntimeError("NC_ERROR (scripted)")
        elif fault in ("vanish", "lost", "stuck", "mutex"):
            self.lose_stick(fault)
        elif fault == "unsupported":
            raise protocol.UnsupportedModel('unsupported layer type "Scripted"')
        result = super().measure(request)
        mine = {name: result[name] for name in ("nonce", "model_sha256")}
        if fault == "replay":
            result.update(self.last)
        self.last = mine
        if fault == "garbage":
            # Not JSON: the parent reads this where it expects the answer.
            self.answers.write("E: [xLink] garbage\n")
        return result

    def lose_stick(self, fault):
        """Trouble that only a stick has."""
        stick = self.runtime.stick
        if fault == "mutex":
            # What another user's file is to this process: one that it cannot open.
            os.mkdir(os.path.join(self.runtime.script["root"], "tmp", "mvnc.mutex"))
            sys.stderr.write("E: [ncAPI] global mutex initialization failed (scripted)\n")
            os._exit(1)
        if fault != "vanish":
            stick.hang_up()
        if fault == "stuck":
            os._exit(1)
        stick.leave()
        raise RuntimeError("Failed to queue inference: NC_ERROR (scripted)")
