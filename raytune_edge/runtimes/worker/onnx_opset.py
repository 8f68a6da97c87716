"""What OpenVINO 2021.4, which brings no ONNX, would read wrongly: from the bytes that tell it.

An ONNX file is a protocol buffer: fields of a number and a wire type, one after the other. Field 8
of the model is an opset, of whose own fields 1 is the domain and 2 the version. Field 7 is the
graph, whose field 1 is a node: 2 is an output, 3 its name, 4 its operator, 5 an attribute, of whose
own fields 1 is the name and 8 its integers.
"""

import os

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
OPSET, DOMAIN, VERSION = 8, 1, 2
GRAPH, NODE, OUTPUT, NAME, OPERATOR, ATTRIBUTE = 7, 1, 2, 3, 4, 5
LABEL, INTEGERS = 1, 8
OWN = (b"", b"ai.onnx")
"""Two names of one domain: ONNX's own."""


def of(path):
    """Version of ONNX's own opset in the file ``path``; None if no whole ONNX file tells one."""
    found = []
    with open(path, "rb") as file:
        try:
            for _, where in fields(file, os.path.getsize(path), (OPSET,)):
                opset = dict(inside(file, where, (DOMAIN, VERSION)))
                if text(file, opset.get(DOMAIN, (0, 0))) in OWN:
                    found.append(opset[VERSION])
                file.seek(where[1])
        except (EOFError, KeyError, TypeError, ValueError):
            return None
    return max(found) if found else None


def dilated_pool(path):
    """Name of a MaxPool with dilations in the ONNX file ``path``; None if there is none."""
    with open(path, "rb") as file:
        try:
            for _, graph in fields(file, os.path.getsize(path), (GRAPH,)):
                for _, node in inside(file, graph, (NODE,)):
                    told = list(inside(file, node, (OUTPUT, NAME, OPERATOR, ATTRIBUTE)))
                    words = {number: text(file, at) for number, at in told if number != ATTRIBUTE}
                    if words.get(OPERATOR) == b"MaxPool" and any(
                        dilations(file, at) for number, at in told if number == ATTRIBUTE
                    ):
                        return (words.get(NAME) or words[OUTPUT]).decode()
                    file.seek(node[1])
                file.seek(graph[1])
        except (EOFError, KeyError, TypeError, ValueError):
            return None  # OpenVINO will say what is wrong with it
    return None


def dilations(file, attribute):
    """Whether the ``attribute`` there is one of dilations, and any of them isn't 1."""
    told = list(inside(file, attribute, (LABEL, INTEGERS)))
    if not any(number == LABEL and text(file, at) == b"dilations" for number, at in told):
        return False
    sizes = []
    for number, value in told:
        if number == INTEGERS and isinstance(value, tuple):  # packed: some writers do
            file.seek(value[0])
            while file.tell() < value[1]:
                sizes.append(varint(file))
        elif number == INTEGERS:
            sizes.append(value)
    return any(size != 1 for size in sizes)


def inside(file, where, wanted):
    """The `fields` of what lies at ``where``."""
    file.seek(where[0])
    return fields(file, where[1], wanted)


def text(file, where):
    """The bytes at ``where``."""
    file.seek(where[0])
    return file.read(where[1] - where[0])


def fields(file, end, wanted):
    """Number and value of each wanted field up to ``end``: an integer, or where its bytes are."""
    while file.tell() < end:
        tag = varint(file)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            value = varint(file)
        elif kind == BYTES:
            length = varint(file)
            start = file.tell()
            if start + length > end:
                raise EOFError("a field is cut short")
            value = (start, start + length)
            file.seek(start + length)
        elif kind in (FIXED32, FIXED64):
            file.seek(4 if kind == FIXED32 else 8, os.SEEK_CUR)
            value = None
        else:
            raise ValueError("not a protocol buffer")
        if number in wanted:
            yield number, value


def varint(file):
    """An integer in groups of seven bits, the lowest first."""
    value = shift = 0
    while True:
        byte = file.read(1)
        if not byte or shift > 63:
            raise EOFError("an integer is cut short")
        value |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:
            return value
