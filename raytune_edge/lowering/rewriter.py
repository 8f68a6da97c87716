"""Putting one node after the other in older words."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import defs, helper, numpy_helper

from raytune_edge.errors import LoweringError
from raytune_edge.lowering.reading import OPSET

__all__ = ["NodeError", "Rewriter", "Rule"]


class NodeError(LoweringError):
    """One node cannot be put in older words: its name, or its output's, and its operator."""

    layer = ""
    layer_type = ""


class Rewriter:
    """Puts the nodes of one model in older words, one after the other, in place.

    Args:
        opset: Of the model as it is.
    """

    def __init__(self, model: onnx.ModelProto, opset: int) -> None:
        self.model, self.opset = model, opset
        self.node = onnx.NodeProto()
        self.done: list[onnx.NodeProto] = []
        self.constants = {each.name: each for each in model.graph.initializer}
        self.names = {name for node in model.graph.node for name in (*node.input, *node.output)}

    def run(self, rules: Mapping[str, Rule], always: Collection[str]) -> bool:
        """Rewrite all nodes by the ``rules`` for their operators. Returns whether any changed.

        Args:
            always: The operators to rewrite even where the model's opset is old enough.
        """
        for node in self.model.graph.node:
            self.node = node
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.constants[node.output[0]] = node.attribute[0].t
            if node.domain or (self.opset <= OPSET and node.op_type not in always):
                self.done.append(node)
            elif any(each.HasField("g") for each in node.attribute):
                raise self.refusal("it holds a graph of its own")
            else:
                rules.get(node.op_type, Rewriter.keep)(self)
        changed = self.done != list(self.model.graph.node)
        del self.model.graph.node[:]
        self.model.graph.node.extend(self.done)
        return changed

    def keep(self, *known: str, inputs: Sequence[str] | None = None, **more: Any) -> None:
        """Write the node as it is, if opset 13 has it and means the same by it.

        Args:
            known: Attributes that may go, being said in other words.
            inputs: In place of the node's.
            more: Attributes to add.
        """
        try:
            old = defs.get_schema(self.node.op_type, OPSET)
        except defs.SchemaError:
            raise self.refusal("there is nothing like it") from None
        new = defs.get_schema(self.node.op_type, self.opset)
        said = {each.name: helper.get_attribute_value(each) for each in self.node.attribute}
        for name in said.keys() - old.attributes.keys() - set(known):
            default = new.attributes[name].default_value
            if said[name] != (helper.get_attribute_value(default) if default.name else None):
                raise self.refusal(f"it has no {name}={said[name]!r}")
        kept = onnx.NodeProto()
        kept.CopyFrom(self.node)
        del kept.attribute[:]
        kept.attribute.extend(each for each in self.node.attribute if each.name in old.attributes)
        kept.attribute.extend(helper.make_attribute(name, value) for name, value in more.items())
        kept.input[:] = self.node.input if inputs is None else inputs
        if len(kept.input) > old.max_input:
            raise self.refusal(f"it takes {old.max_input} inputs, not {len(kept.input)}")
        self.done.append(kept)

    def say(self, operator: str, *inputs: str | float, output: str = "", **attributes: Any) -> str:
        """Write a node; numbers among its inputs become constants. Returns its output's name."""
        names = [
            each if isinstance(each, str) else self.constant(each, self.kind()) for each in inputs
        ]
        output = output or self.name(operator)
        self.done.append(helper.make_node(operator, names, [output], **attributes))
        return output

    def constant(self, value: Any, kind: int = onnx.TensorProto.INT64) -> str:
        """The name of a new tensor that holds ``value``."""
        array = np.asarray(value, helper.tensor_dtype_to_np_dtype(kind))
        tensor = numpy_helper.from_array(array, self.name("constant"))
        self.model.graph.initializer.append(tensor)
        return tensor.name

    def name(self, what: str) -> str:
        """A name that no other tensor has."""
        name = f"{self.node.output[0]}/{what}"
        while name in self.names:
            name += "_"
        self.names.add(name)
        return name

    def attribute(self, name: str, default: Any = None) -> Any:
        """What the node says of ``name``."""
        for each in self.node.attribute:
            if each.name == name:
                return helper.get_attribute_value(each)
        return default

    def numbers(self, place: int) -> list[int] | None:
        """The integers that input ``place`` always has; None where there is no such input."""
        if len(self.node.input) <= place or not self.node.input[place]:
            return None
        tensor = self.constants.get(self.node.input[place])
        if tensor is None:
            raise self.refusal(f"its input {self.node.input[place]} is computed")
        return [int(each) for each in numpy_helper.to_array(tensor).flat]

    @functools.cached_property
    def types(self) -> dict[str, onnx.TypeProto.Tensor]:
        """Type and shape of each tensor, as far as they can be told without running the model."""
        graph = onnx.shape_inference.infer_shapes(self.model).graph
        values = (*graph.input, *graph.value_info, *graph.output)
        return {each.name: each.type.tensor_type for each in values}

    def kind(self) -> int:
        """Type of the first input."""
        found = self.types.get(self.node.input[0])
        return found.elem_type if found else onnx.TensorProto.FLOAT

    def shape(self) -> list[int]:
        """Shape of the first input; sizes that depend on the model's input are 0."""
        found = self.types.get(self.node.input[0])
        if found is None or not found.HasField("shape"):
            raise self.refusal("the shape of its input cannot be told")
        return [each.dim_value for each in found.shape.dim]

    def refusal(self, why: str) -> NodeError:
        """The error that this node cannot be said in opset 13."""
        layer, layer_type = self.node.name or self.node.output[0], self.node.op_type
        error = NodeError(
            f"{layer_type} ({layer}) of opset {self.opset} cannot be put in the words of opset "
            f"{OPSET}, the newest that the stick's runtime reads: {why}"
        )
        error.layer, error.layer_type = layer, layer_type
        return error


Rule = Callable[[Rewriter], None]
"""Writes what does the same as the rewriter's node, or refuses it."""
