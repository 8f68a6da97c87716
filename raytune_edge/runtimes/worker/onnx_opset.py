"""The opset of an ONNX file, read from the few bytes that tell it: OpenVINO 2021.4 brings no ONNX.

An ONNX file is a protocol buffer: fields of a number and a wire type, one after the other. Field 8
of the model is an opset, of whose own fields 1 is the domain and 2 the version.
"""

import os

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
OPSET, DOMAIN, VERSION = 8, 1, 2


def of(path):
    """Version of ONNX's own opset in the file ``path``; None if it is no whole ONNX file."""
    with open(path, "rb") as file:
        try:
            for number, value in fields(file, os.path.getsize(path), (OPSET,)):
                if number == OPSET:
                    start, end = value
                    file.seek(start)
                    opset = dict(fields(file, end, (DOMAIN, VERSION)))
                    file.seek(end)
                    start, end = opset.get(DOMAIN, (0, 0))
                    if start == end:
                        return opset.get(VERSION, 1)
        except (EOFError, TypeError, ValueError):
            return None
    return None


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
