"""PyTorch's operators in ONNX, where its exporter has none or one that ONNX Runtime is slow at."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch.onnx import symbolic_helper

OPSET = 20  # AffineGrid came with it
_BILINEAR, _BORDER, _REFLECTION = 0, 1, 2  # as torch.grid_sampler counts


@contextmanager
def own_symbols() -> Iterator[None]:
    """Let the exporter write these operators during the block."""
    exporter: Any = torch.onnx  # has no types for it
    symbols: dict[str, Any] = {
        "aten::_upsample_bicubic2d_aa": _bicubic,
        "aten::mT": _transposed,
        "aten::grid_sampler": _sampled,
        "aten::pixel_unshuffle": _unshuffled,
    }
    for name, symbol in symbols.items():
        exporter.register_custom_op_symbolic(name, symbol, OPSET)
    try:
        yield
    finally:
        for name in symbols:
            exporter.unregister_custom_op_symbolic(name, OPSET)


def _bicubic(g: Any, image: Any, size: Any, _: Any, factors: Any) -> Any:
    """Bicubic resizing as PyTorch does it with antialias: a = -0.5, and no pixel from beyond."""
    none = g.op("Constant", value_t=torch.tensor([]))
    inputs = [image, none]
    if symbolic_helper._is_none(size):
        known = symbolic_helper._maybe_get_const(factors, "fs")
        inputs += [g.op("Constant", value_t=torch.tensor([1.0, 1.0, *known]))]
    else:
        shape = g.op("Shape", image, start_i=0, end_i=2)
        inputs += [none, g.op("Concat", shape, size, axis_i=0)]
    return g.op(
        "Resize",
        *inputs,
        mode_s="cubic",
        antialias_i=1,
        cubic_coeff_a_f=-0.5,
        exclude_outside_i=1,
        coordinate_transformation_mode_s="half_pixel",
    )


def _transposed(g: Any, matrices: Any) -> Any:
    rank = cast(int, symbolic_helper._get_tensor_rank(matrices))
    return g.op("Transpose", matrices, perm_i=[*range(rank - 2), rank - 1, rank - 2])


def _sampled(g: Any, image: Any, grid: Any, mode: Any, padding: Any, align_corners: Any) -> Any:
    """GridSample of a grid that stays inside the image.

    There every padding is alike, and ONNX Runtime 1.32 pads with zeros many times as fast.
    """
    mode, padding, align_corners = (_known(each) for each in (mode, padding, align_corners))
    if mode != _BILINEAR or padding not in (_BORDER, _REFLECTION) or align_corners:
        raise NotImplementedError(f"grid_sample({mode=}, {padding=}, {align_corners=})")
    if padding == _REFLECTION:
        grid = _reflected(g, grid)
    inside = _clipped(g, grid, image)
    return g.op(
        "GridSample", image, inside, mode_s="linear", padding_mode_s="zeros", align_corners_i=0
    )


def _reflected(g: Any, grid: Any) -> Any:
    """Places mirrored at -1 and 1 until they are between. Those that are do not change.

    ONNX Runtime 1.32 is slow at Mod.
    """
    half, one, two = (_number(g, value) for value in (0.5, 1.0, 2.0))
    turns = g.op("Floor", g.op("Mul", g.op("Add", grid, one), half))
    is_odd = g.op("Sub", turns, g.op("Mul", two, g.op("Floor", g.op("Mul", turns, half))))
    sign = g.op("Sub", one, g.op("Mul", two, is_odd))
    return g.op("Mul", g.op("Sub", grid, g.op("Mul", two, turns)), sign)


def _clipped(g: Any, grid: Any, image: Any) -> Any:
    """Places no farther out than the centres of the outermost pixels."""
    sides = g.op("Shape", image, start_i=2, end_i=4)
    sides = g.op("Gather", sides, _integers(g, 1, 0))  # a place is (x, y)
    sides = g.op("Cast", sides, to_i=torch.onnx.TensorProtoDataType.FLOAT)
    most = g.op("Sub", _number(g, 1.0), g.op("Reciprocal", sides))
    return g.op("Min", g.op("Max", grid, g.op("Neg", most)), most)


def _unshuffled(g: Any, image: Any, factor: Any) -> Any:
    """SpaceToDepth, whose channels are then put in PyTorch's order.

    The exporter's transposition of six axes takes six times as long.
    """
    side = _known(factor)
    spread = g.op("SpaceToDepth", image, blocksize_i=side)  # (B, side * side * C, h, w)
    apart = g.op("Unsqueeze", spread, _integers(g, 2))
    apart = g.op("Reshape", apart, _integers(g, 0, side * side, -1, 0, 0))
    ordered = g.op("Transpose", apart, perm_i=[0, 2, 1, 3, 4])
    together = g.op("Reshape", ordered, _integers(g, 0, -1, 1, 0, 0))
    return g.op("Squeeze", together, _integers(g, 2))


def _known(value: Any) -> int:
    helper: Any = symbolic_helper  # has no types for it
    return cast(int, helper._get_const(value, "i", ""))


def _integers(g: Any, *values: int) -> Any:
    return g.op("Constant", value_t=torch.tensor(values))


def _number(g: Any, value: float) -> Any:
    return g.op("Constant", value_t=torch.tensor(value))
