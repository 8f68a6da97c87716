"""ONNX export, its parity check and the weight-free signature."""

import copy

import onnx
import pytest
import torch
from torch import nn

from raytune_edge.errors import ExportError, ParityError
from raytune_edge.export import check_parity, export_onnx, read_onnx, signature
from raytune_edge.tasks.resnet import cifar_resnet


def small_network(width: int = 8, stride: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, width, 3, stride, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, 10),
    )


@pytest.fixture
def example() -> torch.Tensor:
    return torch.rand(1, 3, 16, 16)


def test_export_writes_the_opset_that_was_asked_for_and_agrees_with_pytorch(
    example: torch.Tensor,
) -> None:
    exported = export_onnx(cifar_resnet(20), example)
    assert [(each.domain, each.version) for each in read_onnx(exported.onnx).opset_import] == [
        ("", 13)
    ]
    assert exported.parity < 1e-4


def test_export_keeps_the_mode_of_the_model(example: torch.Tensor) -> None:
    model = small_network().train()
    before = copy.deepcopy(model.state_dict())
    export_onnx(model, example)
    assert model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_export_refuses_what_onnx_cannot_say(example: torch.Tensor) -> None:
    class Fft(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.svd(x.flatten(1))[1]

    with pytest.raises(ExportError, match="cannot export"):
        export_onnx(Fft(), example)


def test_parity_error_tells_the_difference(example: torch.Tensor) -> None:
    model = small_network().eval()
    exported = export_onnx(model, example)
    with torch.no_grad():
        model[0].weight.mul_(1.5)
    with pytest.raises(ParityError, match=r"differ by 0\.\d+ .* allowed is 0\.001"):
        check_parity(exported.onnx, model, example)


def test_parity_check_refuses_nan(example: torch.Tensor) -> None:
    model = small_network()
    with torch.no_grad():
        model[-1].bias.fill_(float("nan"))
    with pytest.raises(ParityError):
        export_onnx(model, example)


def test_weights_do_not_change_the_signature(example: torch.Tensor) -> None:
    first, second = small_network(), small_network()
    assert export_onnx(first, example).signature == export_onnx(second, example).signature
    assert export_onnx(first, example).sha256 != export_onnx(second, example).sha256


@pytest.mark.parametrize(
    "other",
    [small_network(width=16), small_network(stride=2), cifar_resnet(20)],
    ids=["width", "stride", "graph"],
)
def test_what_latency_depends_on_changes_the_signature(
    other: nn.Module, example: torch.Tensor
) -> None:
    base = export_onnx(small_network(), example).signature
    assert export_onnx(other, example).signature != base


def test_input_shape_changes_the_signature(example: torch.Tensor) -> None:
    model = small_network()
    larger = torch.rand(1, 3, 32, 32)
    assert export_onnx(model, example).signature != export_onnx(model, larger).signature


def test_wiring_and_shape_constants_change_the_signature_and_names_do_not() -> None:
    def graph(add_left: str, shape: list[int], prefix: str = "") -> bytes:
        helper = onnx.helper
        names = {name: prefix + name for name in ("x", "a", "b", "s", "y")}
        nodes = [
            helper.make_node("Relu", [names["x"]], [names["a"]]),
            helper.make_node("Add", [names[add_left], names["a"]], [names["b"]]),
            helper.make_node("Reshape", [names["b"], names["s"]], [names["y"]]),
        ]
        value = helper.make_tensor_value_info
        float32, int64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
        made = helper.make_graph(
            nodes,
            prefix + "graph",
            [value(names["x"], float32, [4, 4])],
            [value(names["y"], float32, shape)],
            [helper.make_tensor(names["s"], int64, [2], shape)],
        )
        opset = [helper.make_opsetid("", 13)]
        return bytes(helper.make_model(made, opset_imports=opset).SerializeToString())

    base = signature(graph("x", [2, 8]))
    assert signature(graph("x", [2, 8], prefix="other_")) == base
    assert signature(graph("a", [2, 8])) != base
    assert signature(graph("x", [8, 2])) != base


@pytest.mark.parametrize("cut", [0, 10, 0.5])
def test_a_file_that_is_cut_short_is_refused(cut: float, example: torch.Tensor) -> None:
    whole = export_onnx(small_network(), example).onnx
    length = int(cut * len(whole)) if cut < 1 else int(cut)
    with pytest.raises(ExportError, match=f"got {length} bytes"):
        read_onnx(whole[:length])


def test_a_text_file_is_refused() -> None:
    with pytest.raises(ExportError, match="expected a whole ONNX model"):
        read_onnx(b"# not a model\n")


def test_what_the_stick_lacks_is_said_in_other_operators(example: torch.Tensor) -> None:
    exported = export_onnx(nn.Sequential(small_network(), nn.Hardswish()), example)
    operators = [node.op_type for node in read_onnx(exported.onnx).graph.node]
    assert "HardSigmoid" not in operators
    assert operators[-4:] == ["Add", "Clip", "Mul", "Mul"]
    assert exported.parity < 1e-4


def test_what_the_stick_cannot_do_is_still_for_other_devices(example: torch.Tensor) -> None:
    exported = export_onnx(nn.MaxPool2d(3, dilation=2), example)
    assert [node.op_type for node in read_onnx(exported.onnx).graph.node] == ["MaxPool"]


def test_a_newer_opset_is_left_as_it_was_asked_for(example: torch.Tensor) -> None:
    exported = export_onnx(nn.Hardswish(), example, opset=17)
    (node,) = (each for each in read_onnx(exported.onnx).graph.node if each.op_type != "Constant")
    assert node.op_type == "HardSwish"
