"""Lowering: each operator that is put in older words gives the same output, or is refused."""

from __future__ import annotations

import pickle
from typing import Any
from unittest.mock import Mock

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from raytune_edge import lowering
from raytune_edge.errors import ExportError, LoweringError, ParityError
from raytune_edge.lowering import lower, opset_of, parity, read_onnx, rules
from raytune_edge.lowering.parity import check_equal
from raytune_edge.lowering.rewriter import NodeError

SHAPE = (1, 6, 5, 4)


def model(
    operator: str,
    *inputs: Any,
    opset: int = 20,
    outputs: int = 1,
    shape: tuple[Any, ...] = SHAPE,
    domain: str = "",
    kind: int = TensorProto.FLOAT,
    **attributes: Any,
) -> bytes:
    """A network of one node on input ``x``; what isn't None among ``inputs`` is a constant."""
    names, tensors = ["x"], []
    for number, value in enumerate(inputs):
        names.append("" if value is None else f"c{number}")
        if value is not None:
            dtype = np.int64 if np.asarray(value).dtype.kind == "i" else np.float32
            tensors.append(numpy_helper.from_array(np.asarray(value, dtype), names[-1]))
    results = [f"y{number}" for number in range(outputs)]
    node = helper.make_node(operator, names, results, name="n0", **attributes)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node],
        "g",
        [value("x", kind, shape)],
        [helper.make_empty_tensor_value_info(name) for name in results],
        tensors,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    made = onnx.shape_inference.infer_shapes(made)
    made.opset_import[0].domain = made.graph.node[0].domain = domain
    return bytes(made.SerializeToString())


def run(onnx_bytes: bytes) -> list[np.ndarray[Any, Any]]:
    session = onnxruntime.InferenceSession(onnx_bytes)
    x = np.random.default_rng(1).normal(0, 4, SHAPE).astype(np.float32)
    return list(session.run(None, {"x": x}))


LOWERED = {
    "hard_swish": model("HardSwish"),
    "hard_sigmoid": model("HardSigmoid", alpha=0.3, beta=0.4),
    "hard_sigmoid_of_opset_13": model("HardSigmoid", opset=13, alpha=1 / 6),
    "gelu": model("Gelu"),
    "gelu_tanh": model("Gelu", approximate="tanh"),
    "mish": model("Mish"),
    "layer_norm": model("LayerNormalization", [1.0, 2, 3, 4], [0.5, 0, 1, 2], epsilon=0.1),
    "layer_norm_from_axis": model("LayerNormalization", np.ones((5, 4), np.float32), axis=2),
    "reduce_mean": model("ReduceMean", [2, 3]),
    "reduce_max_without_keeping": model("ReduceMax", [-1], keepdims=0),
    "reduce_l2_of_all": model("ReduceL2"),
    "reduce_min_of_none": model("ReduceMin", noop_with_empty_axes=1),
    "split_evenly": model("Split", outputs=3, axis=1, num_outputs=3),
    "split_unevenly": model("Split", outputs=3, axis=2, num_outputs=3),
    "split_by_sizes": model("Split", [2, 3], outputs=2, axis=2),
    "reshape": model("Reshape", [1, -1], allowzero=1),
    "pad_by_axes": model("Pad", [1, 0, 2, 3], 7.0, [3, -3]),
    "average_pool": model("AveragePool", kernel_shape=[2, 2], dilations=[1, 1]),
    "batch_norm": model("BatchNormalization", *np.ones((4, 6)), training_mode=0),
    "resize": model("Resize", None, [1.0, 1, 2, 2], antialias=0, mode="linear"),
    "cast": model("Cast", to=TensorProto.FLOAT, saturate=1),
    "relu": model("Relu"),
    "own_domain_by_its_other_name": model("ReduceMean", [2, 3], domain="ai.onnx"),
}


@pytest.mark.parametrize("name", LOWERED)
def test_the_output_stays_and_opset_13_says_it(name: str) -> None:
    before, after = LOWERED[name], lower(LOWERED[name])
    read = read_onnx(after)
    assert opset_of(read) == 13
    assert not {"HardSigmoid", "HardSwish"} & {node.op_type for node in read.graph.node}
    # Checked as opset 13 checks: operators, attributes, and types all through.
    onnx.checker.check_model(read, full_check=True)
    for wanted, got in zip(run(before), run(after), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def test_weights_and_names_stay() -> None:
    before = read_onnx(LOWERED["layer_norm"]).graph
    after = read_onnx(lower(LOWERED["layer_norm"])).graph
    kept = {each.name: each for each in after.initializer}
    assert all(kept[each.name] == each for each in before.initializer)
    assert (after.input, after.output) == (before.input, before.output)


@pytest.mark.parametrize("opset", [9, 11, 13])
def test_what_is_old_enough_stays_byte_for_byte(opset: int) -> None:
    for operator in ("Relu", "MaxPool"):
        attributes = {"kernel_shape": [2, 2]} if operator == "MaxPool" else {}
        onnx_bytes = model(operator, opset=opset, **attributes)
        assert lower(onnx_bytes) is onnx_bytes


def test_a_lowered_network_is_not_lowered_again() -> None:
    once = lower(LOWERED["hard_swish"])
    assert lower(once) is once


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (model("GridSample", np.zeros((1, 2, 2, 2))), r"^GridSample \(n0\) of opset 20 .*nothing"),
        (model("Pad", [0, 0, 0, 1] * 2, mode="wrap"), "no mode 'wrap'"),
        (model("Reshape", [0, 4], allowzero=1), "allowzero=1"),
        (model("Cast", to=TensorProto.FLOAT, saturate=0), "it has no saturate=0"),
        (model("AveragePool", kernel_shape=[2, 2], dilations=[2, 1]), "it has no dilations"),
        (model("MaxPool", kernel_shape=[2, 2], dilations=[2, 2], opset=13), "ignores its dilation"),
        (model("Resize", None, [2.0, 2], axes=[2, 3]), "it has no axes"),
        (model("Split", outputs=2, axis=2, num_outputs=2, shape=(1, 6, "h", 4)), "depends on"),
        (model("HardSigmoid", opset=9), "only that of opset 11"),
        (model("HardSigmoid", alpha=0.0), "only one that rises"),
        (model("HardSigmoid", alpha=-0.2), "only one that rises"),
        (model("GridSample", np.zeros((1, 2, 2, 2)), domain="ai.onnx"), "^GridSample .*nothing"),
        (model("LayerNormalization", [1.0] * 4, outputs=2), "mean and deviation"),
    ],
)  # fmt: skip
def test_what_opset_13_cannot_say_is_refused_by_name(wrong: bytes, why: str) -> None:
    with pytest.raises(LoweringError, match=why):
        lower(wrong)


def test_computed_axes_and_inner_graphs_are_refused() -> None:
    value = helper.make_tensor_value_info
    x, y = (value(name, TensorProto.FLOAT, [1, 4]) for name in "xy")
    axes = value("a", TensorProto.INT64, [1])
    mean = helper.make_node("ReduceMean", ["x", "a"], ["y"])
    branch = helper.make_graph([helper.make_node("Identity", ["x"], ["z"])], "b", [], [
        value("z", TensorProto.FLOAT, [1, 4])
    ])  # fmt: skip
    choose = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    condition = value("c", TensorProto.BOOL, [])
    for node, extra, why in (
        (mean, axes, "input a is computed"),
        (choose, condition, "If .*graph"),
    ):
        graph = helper.make_graph([node], "g", [x, extra], [y])
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        with pytest.raises(LoweringError, match=why):
            lower(made.SerializeToString())


def test_weights_in_another_file_are_refused() -> None:
    apart = onnx.load_from_string(LOWERED["layer_norm"])
    tensor = apart.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="model.onnx.data")
    with pytest.raises(ExportError, match=r"keeps 1 of them in another file, such as c0"):
        lower(apart.SerializeToString())


def test_another_output_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(write: rules.Rewriter) -> None:
        write.say("Mul", write.node.input[0], 0.5, output=write.node.output[0])

    monkeypatch.setitem(lowering.RULES, "Mish", wrong)
    with pytest.raises(ParityError, match=r"another output y0: it differs by 0\.\d+"):
        lower(LOWERED["mish"])
    lower(LOWERED["mish"], tolerance=None)


@pytest.mark.parametrize(
    ("operator", "kind"),
    [
        ("HardSwish", TensorProto.FLOAT16),
        ("ReduceMean", TensorProto.DOUBLE),
        ("ReduceMax", TensorProto.INT64),
        ("Identity", TensorProto.BOOL),
    ],
)
def test_inputs_of_any_type_are_compared(
    operator: str, kind: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = Mock(wraps=parity._outputs)
    monkeypatch.setattr(parity, "_outputs", compared)
    assert opset_of(read_onnx(lower(model(operator, kind=kind)))) == 13
    assert compared.call_count == 2


@pytest.mark.parametrize(("shape", "times"), [(("n", 6, 5, 4), 2), ((1, 6, "h", "w"), 0)])
def test_a_batch_of_any_size_is_compared_at_one_and_other_open_sizes_are_not(
    shape: tuple[Any, ...], times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = Mock(wraps=parity._outputs)
    monkeypatch.setattr(parity, "_outputs", compared)
    lower(model("HardSwish", shape=shape))
    assert compared.call_count == times


def test_what_onnx_runtime_cannot_run_is_told_as_such() -> None:
    broken = model("ReduceMean", [7])  # there is no axis 7
    with pytest.raises(ParityError, match="ONNX Runtime cannot run the network"):
        check_equal(broken, broken, 1e-5)


def test_an_old_model_that_tells_no_opset_has_the_first() -> None:
    assert opset_of(onnx.ModelProto()) == 1


def test_a_refusal_names_the_node_also_after_a_journey() -> None:
    with pytest.raises(NodeError) as caught:
        lower(model("GridSample", np.zeros((1, 2, 2, 2))))
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.layer, again.layer_type, str(again)) == ("n0", "GridSample", str(caught.value))
