"""What a .caffemodel holds: the names and types of its layers, and their blobs.

The file is one protobuf message, the NetParameter of Caffe's src/caffe/proto/caffe.proto. Only the
fields named below are read, straight off the wire format; all others are skipped by their length.
The file is mapped into memory and the blobs are views of it: nothing is allocated on the word of a
length in the file, and every length is held against what is there.
"""

import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from refsr.errors import RefsrError

VARINT, FIXED64, LENGTH, FIXED32 = (
    0,
    1,
    2,
    5,
)  # wire types; 3 and 4, groups, are in no field of Caffe's
MAX_FIELDS = 100_000  # looked at in one file; a net of 200 layers has some thousands
MAX_NAME = 256  # bytes
MAX_AXES = 32  # Caffe's own bound


class Blob(NamedTuple):
    """One parameter of a layer, and where in the file it stands."""

    shape: tuple[int, ...]
    # Written before blobs had shapes: four axes, those that are missing are 1 and come first.
    legacy: bool
    values: np.ndarray  # flat view of the file, float32 or float64
    offset: int  # bytes


class Layer(NamedTuple):
    """A layer, and where in the file it stands."""

    name: str
    type: str
    blobs: list[Blob]
    offset: int  # bytes


class _Field(NamedTuple):
    number: int
    wire: int
    value: int  # of a VARINT
    start: int  # of its content; for a VARINT that of its key
    end: int


class _File:
    """The mapped file.

    It counts the fields looked at: whoever made the file may have wanted them to be many.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.fields_left = MAX_FIELDS

    def count(self, offset: int) -> None:
        self.fields_left -= 1
        if self.fields_left < 0:
            raise self.error(offset, f"more than {MAX_FIELDS} fields")

    def error(self, offset: int, fault: str) -> RefsrError:
        return RefsrError(
            f"{self.path}: byte {offset}: {fault}; "
            "the file is damaged or no .caffemodel: fetch it anew"
        )


@dataclass
class _Message:
    """A message: a stretch of the file, and what it is, for the reader of an error."""

    file: _File
    start: int
    end: int
    what: str

    def error(self, offset: int, fault: str) -> RefsrError:
        return self.file.error(offset, f"{self.what}: {fault}")

    def fields(self) -> Iterator[_Field]:
        """Its fields, in the order of the file."""
        at = self.start
        while at < self.end:
            key_at = at
            self.file.count(key_at)
            key, at = self.varint(at)
            number, wire = key >> 3, key & 7
            value, start = 0, at
            if wire == VARINT:
                (value, at), start = self.varint(at), key_at
            elif wire in (FIXED32, FIXED64):
                at += 4 if wire == FIXED32 else 8
            elif wire == LENGTH:
                length, start = self.varint(at)
                at = start + length
            if number == 0 or wire not in (VARINT, FIXED64, LENGTH, FIXED32):
                raise self.error(
                    key_at, f"no field begins like this (number {number}, wire type {wire})"
                )
            if at > self.end:
                raise self.error(
                    key_at, f"field {number} goes on for {at - self.end} bytes beyond the end"
                )
            yield _Field(number, wire, value, start, at)

    def varint(self, at: int) -> tuple[int, int]:
        """(value, where the next thing begins)."""
        value = 0
        for shift in range(0, 70, 7):
            if at >= self.end:
                raise self.error(at, "ends within a number")
            byte = self.file.data[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, at
        raise self.error(at, "a number of more than 10 bytes")

    def inner(self, field: _Field, what: str) -> "_Message":
        """What a field of its own length holds."""
        if field.wire != LENGTH:
            raise self.error(
                field.start,
                f"{what}: field {field.number} has wire type {field.wire}, not {LENGTH}",
            )
        return _Message(self.file, field.start, field.end, what)

    def number(self, field: _Field) -> int:
        """What a field of one number holds."""
        if field.wire != VARINT:
            raise self.error(
                field.start, f"field {field.number} has wire type {field.wire}, not {VARINT}"
            )
        return field.value

    def text(self, field: _Field) -> str:
        """What a field of text holds."""
        held = self.inner(field, self.what)
        if held.end - held.start > MAX_NAME:
            raise self.error(held.start, f"a name of {held.end - held.start} bytes")
        try:
            return self.file.data[held.start : held.end].decode()
        except UnicodeDecodeError as error:
            raise self.error(held.start, f"a name that is not UTF-8 ({error.reason})") from error


def read_layers(path: Path) -> list[Layer]:
    """The layers of a .caffemodel, in its order.

    Their blobs can be read as long as the file is left as it is. Raises RefsrError where there is
    no such file, where it is damaged or in Caffe's old format (V1).
    """
    try:
        file = _File(path)
    except (OSError, ValueError) as error:  # ValueError: a file of no bytes cannot be mapped
        raise RefsrError(
            f"{path}: cannot be read: {error}; name a .caffemodel that is there"
        ) from error
    net = _Message(file, 0, len(file.data), "the network")
    layers: list[Layer] = []
    for field in net.fields():
        if field.number == 1:
            net.text(field)  # the net's name; a .solverstate has a number here
        elif field.number == 2:  # layers
            raise RefsrError(
                f"{path}: byte {field.start}: layers in Caffe's old format (V1); "
                "Caffe's own upgrade_net_proto_binary writes the file anew in the present one"
            )
        elif field.number == 100:  # layer
            layers.append(_layer(net.inner(field, f"layer {len(layers) + 1}")))
    if not layers:
        raise net.error(0, "no layers")
    return layers


def _layer(message: _Message) -> Layer:
    name, kind, blobs = "", "", list[Blob]()
    for field in message.fields():
        if field.number == 1:
            name = message.text(field)
            message.what = f"layer {name!r}"
        elif field.number == 2:
            kind = message.text(field)
        elif field.number == 7:
            blobs.append(_blob(message.inner(field, f"{message.what}, blob {len(blobs)}")))
    return Layer(name, kind, blobs, message.start)


def _blob(message: _Message) -> Blob:
    """Its gradients, where it has any (`diff`, fields 6 and 9), are not read."""
    shape: list[int] = []
    legacy: dict[int, int] = {}
    values: np.ndarray | None = None
    for field in message.fields():
        if field.number <= 4:  # num, channels, height, width
            legacy[field.number] = message.number(field)
        elif field.number == 7:  # shape
            shape += _dims(message.inner(field, f"{message.what}, its shape"))
        elif field.number in (5, 8):  # data, double_data
            if values is not None:
                raise message.error(field.start, "its values stand there twice")
            values = _values(
                message.inner(field, message.what), "<f4" if field.number == 5 else "<f8"
            )
    if legacy and shape:
        raise message.error(message.start, "a shape of the old kind and one of the new")
    axes = tuple(legacy.get(number, 0) for number in (1, 2, 3, 4)) if legacy else tuple(shape)
    count = 0 if values is None else len(values)
    if values is None or math.prod(axes) != count:
        raise message.error(message.start, f"its shape is {axes}, but it holds {count} values")
    return Blob(axes, bool(legacy), values, message.start)


def _dims(message: _Message) -> list[int]:
    """A blob without axes, Caffe's scalar, has no shape at all in the file."""
    axes: list[int] = []
    for field in message.fields():
        if field.number == 1:
            packed, at = message.inner(field, message.what), field.start
            while at < packed.end:
                axis, at = packed.varint(at)
                axes.append(axis)
                if len(axes) > MAX_AXES:
                    raise packed.error(at, f"more than {MAX_AXES} axes")
    return axes


def _values(message: _Message, kind: str) -> np.ndarray:
    size = message.end - message.start
    count, rest = divmod(size, np.dtype(kind).itemsize)
    if rest:
        raise message.error(message.start, f"{size} bytes of values are no whole number of them")
    return np.frombuffer(message.file.data, kind, count, message.start)
