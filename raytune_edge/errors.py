"""The exceptions of this package, one class for each thing that a caller can act on.

A bad argument raises ``ValueError`` where the value is used; the classes that describe bad
arguments inherit from it as well, so that either ``except`` clause catches them.
"""

__all__ = [
    "BundleError",
    "CalibrationError",
    "DeviceBusyError",
    "DeviceDiedError",
    "DeviceError",
    "DeviceTimeoutError",
    "ExportError",
    "LoweringError",
    "MissingPrerequisiteError",
    "ModelProofError",
    "NoDeviceError",
    "NoRuntimeError",
    "OutputError",
    "ParityError",
    "PlanError",
    "PruningError",
    "RaytuneEdgeError",
    "TaskError",
    "UnsupportedModelError",
    "UntraceableModelError",
    "VersionMismatchError",
]


class RaytuneEdgeError(Exception):
    """The root of what goes wrong with tasks, models, devices, plans and files."""


class TaskError(RaytuneEdgeError, ValueError):
    """Model, data and input shape of a task do not fit each other."""


class PlanError(RaytuneEdgeError, ValueError):
    """A pruning plan that cannot be: a ratio out of range, an unknown group, a contradiction."""


class PruningError(RaytuneEdgeError):
    """The pruning backend could not make the network that the plan describes."""


class UntraceableModelError(PruningError):
    """``torch.fx`` cannot trace the model; the message names the line that stops it."""


class ExportError(RaytuneEdgeError):
    """The model could not be written as, or read back from, ONNX."""


class LoweringError(ExportError):
    """An ONNX operator cannot be put in an older opset's words; the message names it."""


class BundleError(RaytuneEdgeError):
    """A bundle's files are not what its manifest says, or its two networks disagree."""


class CalibrationError(RaytuneEdgeError, ValueError):
    """Measurements that no calibration can be made from: too few networks, or not of a stick."""


class OutputError(RaytuneEdgeError, OSError):
    """A folder that results should go to cannot be written."""


class DeviceError(RaytuneEdgeError):
    """There is no measurement to trust.

    For a reason that lies with the device, and is no evidence about the model, unless it is an
    `UnsupportedModelError` or a `ParityError`.
    """


class NoDeviceError(DeviceError):
    """No device answers to the resource or name asked for."""


class NoRuntimeError(NoDeviceError):
    """What drives the device is missing or broken; the message has the command that mends it."""


class MissingPrerequisiteError(NoRuntimeError):
    """The host lacks what the stick's runtime is made from: a Python 3.6 to 3.9, or libusb."""


class VersionMismatchError(NoDeviceError):
    """A node runs another Python, Ray or raytune_edge than this one; the message names both."""


class DeviceBusyError(DeviceError):
    """A request waited in the queue longer than its limit."""


class DeviceTimeoutError(DeviceError):
    """The device took a request and did not answer before its deadline."""


class DeviceDiedError(DeviceError):
    """The process that drives the device ended, or answered with garbage."""


class ModelProofError(DeviceError):
    """An answer carries another request's nonce or another model's hash: it is thrown away."""


class UnsupportedModelError(DeviceError):
    """The device's runtime refuses this model. Evidence about the model, so never retried."""


class ParityError(DeviceError, ExportError):
    """Two runtimes give different outputs for the same model; the message has the difference."""
