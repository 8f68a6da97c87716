"""ONNX to OpenVINO's own format (IR), and whether both give the same outputs."""

import modern
import numpy
import openvino
import protocol

IMAGES = 8
"""Random ones that the outputs are compared on."""


class Runtime(modern.Runtime):
    """OpenVINO, and ONNX Runtime to compare it with."""

    def convert(self, onnx, xml, fp16):
        """Write ``xml`` and, beside it, its weights."""
        try:
            model = openvino.convert_model(onnx)
        except Exception as error:  # the converter has classes of its own
            raise modern.refusal(error, "OpenVINO cannot convert this model") from error
        openvino.save_model(model, xml, compress_to_fp16=fp16)

    def outputs(self, xml):
        """What runs ``xml`` on an image, on the CPU and in float32."""
        try:
            precise = {"INFERENCE_PRECISION_HINT": "f32"}
            compiled = self.core.compile_model(xml, "CPU", precise)
        except RuntimeError as error:
            raise modern.refusal(error, "OpenVINO cannot compile " + xml) from error
        return lambda image: compiled([image])[0]


class Worker(protocol.Worker):
    """Answers ``convert`` and ``compare``."""

    operations = ("convert", "compare")

    def convert(self, request):
        """Write the request's ``onnx`` as ``xml``; its weights as FP16 if ``fp16`` says so."""
        self.runtime.convert(request["onnx"], request["xml"], request["fp16"])
        return {}

    def compare(self, request):
        """How far the outputs of ``onnx`` and ``xml`` are apart on random images in [0, 1)."""
        import onnxruntime  # not needed to convert

        session = onnxruntime.InferenceSession(request["onnx"], providers=["CPUExecutionProvider"])
        outputs = self.runtime.outputs(request["xml"])
        (wanted,) = session.get_inputs()
        random = numpy.random.default_rng(protocol.SEED)
        difference = largest = 0.0
        for _ in range(IMAGES):
            image = random.random(wanted.shape, dtype=numpy.float32)
            (reference, *_) = session.run(None, {wanted.name: image})
            difference = max(difference, float(numpy.abs(outputs(image) - reference).max()))
            largest = max(largest, float(numpy.abs(reference).max()))
        return {"difference": difference, "largest": largest}
