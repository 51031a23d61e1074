"""Tensors of the Open Inference Protocol as JSON has them: images in, results out."""

import base64
import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, Field

from refsr.errors import RefsrError

Datatype = Literal["BYTES", "UINT8", "FP32", "BOOL"]
_CHANNELS = 3
_NESTED = 4  # lists in lists, as deep as (N, H, W, C)
_MOST_VALUES = 4_000_000  # of an image that is answered as numbers; more is several 10 MB of JSON
_BASE64 = {"content_type": "base64"}
_TEXT = {"content_type": "str"}
Length = Annotated[int, Field(ge=0, lt=2**31)]


class Metadata(BaseModel):
    """What a tensor may be."""

    name: str
    datatype: Datatype
    shape: list[int] = Field(description="-1: any length")


class Tensor(BaseModel):
    """A tensor of a request."""

    name: str = Field(examples=["photo"])
    datatype: str = Field(examples=["BYTES"])
    shape: list[Length] = Field(max_length=_NESTED, examples=[[1]])
    data: list[Any] = Field(description="Flat, or nested as its shape is")


class OutputTensor(Metadata):
    """A tensor of an answer."""

    parameters: dict[str, str] | None = None
    data: list[Any]


def images_of(tensor: Tensor, most: int) -> list[bytes | np.ndarray]:
    """The images of a tensor.

    Args:
        tensor: BYTES of shape (N,), each a file in base64; or UINT8 of shape (H, W, 3) or
            (N, H, W, 3), RGB.
        most: Pixels of an image.

    Returns:
        Each as a file, or as (H, W, 3) uint8 RGB.

    Raises:
        RefsrError: It is neither, or its data does not fit its shape.
    """
    if tensor.datatype == "BYTES":
        return [*_files(tensor)]
    if tensor.datatype == "UINT8":
        return [*_pixels(tensor, most)]
    raise RefsrError(f"{tensor.name}: datatype BYTES or UINT8 is expected")


def _files(tensor: Tensor) -> list[bytes]:
    if tensor.shape != [len(tensor.data)]:
        raise RefsrError(f"{tensor.name}: shape {tensor.shape} for {len(tensor.data)} elements")
    try:
        return [base64.b64decode(each, validate=True) for each in tensor.data]
    except (TypeError, ValueError) as error:
        raise RefsrError(f"{tensor.name}: an element is no text in base64") from error


def _pixels(tensor: Tensor, most: int) -> np.ndarray:
    """(N, H, W, 3) uint8."""
    shape = (1,) * (_NESTED - len(tensor.shape)) + tuple(tensor.shape)
    _, height, width, channels = shape
    if channels != _CHANNELS or not height * width:
        expected = f"shape (H, W, {_CHANNELS}) or (N, H, W, {_CHANNELS}), RGB, is expected"
        raise RefsrError(f"{tensor.name}: {expected}, not {tensor.shape}")
    if height * width > most:
        raise RefsrError(
            f"{tensor.name}: {width}x{height} is too large; at most {most:,} pixels are read"
        )
    try:
        values = bytearray(_flat(tensor.data))  # PyTorch warns of arrays that are read-only
    except (TypeError, ValueError) as error:
        raise RefsrError(f"{tensor.name}: integers from 0 to 255 are expected") from error
    if len(values) != math.prod(shape):
        raise RefsrError(f"{tensor.name}: shape {tensor.shape} for {len(values)} numbers")
    return np.frombuffer(values, np.uint8).reshape(shape)


def _flat(data: list[Any]) -> list[Any]:
    for _ in range(_NESTED - 1):
        if not data or not isinstance(data[0], list):
            break
        data = [value for part in data for value in part]
    return data


def file_tensor(name: str, content: bytes) -> OutputTensor:
    """One file, in base64."""
    data = [base64.b64encode(content).decode()]
    return OutputTensor(name=name, datatype="BYTES", shape=[1], parameters=_BASE64, data=data)


def text_tensor(name: str, texts: Sequence[str]) -> OutputTensor:
    """Sentences."""
    shape, data = [len(texts)], [*texts]
    return OutputTensor(name=name, datatype="BYTES", shape=shape, parameters=_TEXT, data=data)


def number_tensor(name: str, datatype: Datatype, values: np.ndarray) -> OutputTensor:
    """Numbers, flat.

    Raises RefsrError where they are so many that JSON is no form for them.
    """
    if values.size > _MOST_VALUES:
        raise RefsrError(
            f"{name}: {values.size:,} numbers; send the photo as BYTES for a PNG, or choose a "
            "smaller scale"
        )
    data = values.ravel().tolist()
    return OutputTensor(name=name, datatype=datatype, shape=[*values.shape], data=data)
