"""A one-node ONNX model, Softmax, written byte by byte so that `onnx` need not be installed.

Format: Protocol Buffers wire encoding of `onnx.proto`; the numbers below are its field numbers.
"""

from __future__ import annotations

# TensorProto.DataType
_ELEMENT_TYPES = {"float32": 1, "float16": 10, "float64": 11}


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # negative numbers are sent as 64-bit two's complement
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _value_info(name: str, element_type: int, shape: tuple[int, ...]) -> bytes:
    dims = b"".join(_bytes(1, _number(1, length)) for length in shape)
    tensor = _number(1, element_type) + _bytes(2, dims)
    return _bytes(1, name.encode()) + _bytes(2, _bytes(1, tensor))


def softmax_model(dtype: str, shape: tuple[int, ...], axis: int) -> bytes:
    """Serialize a model with input ``x`` and output ``y``, operator set 13.

    Raises
    ------
    KeyError
        For a dtype other than float16, float32 and float64.
    """
    element_type = _ELEMENT_TYPES[dtype]
    attribute = _bytes(1, b"axis") + _number(3, axis) + _number(20, 2)
    node = _bytes(1, b"x") + _bytes(2, b"y") + _bytes(4, b"Softmax") + _bytes(5, attribute)
    graph = (
        _bytes(1, node)
        + _bytes(2, b"softmax")
        + _bytes(11, _value_info("x", element_type, shape))
        + _bytes(12, _value_info("y", element_type, shape))
    )
    return _number(1, 8) + _bytes(7, graph) + _bytes(8, _number(2, 13))
