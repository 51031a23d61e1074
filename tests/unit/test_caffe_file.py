"""The reader of .caffemodel files, on a small file that Google's protobuf wrote,
and on hostile ones.
"""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from caffe_writer import encode, messages
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from refsr.errors import RefsrError
from refsr.models.caffe_file import read_layers

Layers = list[tuple[str, str, list[np.ndarray]]]


def blob(number: int, content: bytes) -> bytes:
    """A field of its own length, written by hand; numbers up to 15 and contents up to 127 bytes."""
    return bytes([number << 3 | 2, len(content)]) + content


def layer(content: bytes, name: bytes = b"ip1") -> bytes:
    content = blob(1, name) + content
    return b"\xa2\x06" + bytes([len(content)]) + content


def small() -> Layers:
    rng = np.random.default_rng(3)
    return [
        ("data", "HDF5Data", []),
        (
            "conv",
            "Convolution",
            [rng.standard_normal((2, 3, 1, 2), np.float32), rng.standard_normal(2, np.float32)],
        ),
        ("slope", "PReLU", [rng.standard_normal((), np.float32)]),
        ("precise", "InnerProduct", [rng.standard_normal((3, 2))]),
        ("SR", "Eltwise", []),
    ]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("read") / "small.caffemodel"


def read(file: Path, data: bytes) -> Layers:
    """Layers as they were written; the file is written anew, not over what is mapped."""
    file.unlink(missing_ok=True)
    file.write_bytes(data)
    return [
        (x.name, x.type, [b.values.reshape(b.shape) for b in x.blobs]) for x in read_layers(file)
    ]


def same(left: Layers, right: Layers) -> bool:
    return [(*x[:2], [(b.shape, b.dtype, b.tobytes()) for b in x[2]]) for x in left] == [
        (*x[:2], [(b.shape, b.dtype, b.tobytes()) for b in x[2]]) for x in right
    ]


def test_the_reader_gives_what_protobuf_wrote(file: Path) -> None:
    assert same(read(file, encode(small())), small())
    assert encode(small()) == encode(small(), quick=True)
    old = read(file, encode(small(), legacy=True))
    assert [blobs[0].shape for _, _, blobs in old if blobs] == [
        (2, 3, 1, 2),
        (1, 1, 1, 1),
        (1, 1, 3, 2),
    ]


def test_gradients_are_passed_over(file: Path) -> None:
    net = messages()["NetParameter"].FromString(encode(small()))
    net.layer[1].blobs[0].diff.extend([1.0] * 12)
    assert same(read(file, net.SerializeToString()), small())


def test_an_error_tells_the_byte(file: Path) -> None:
    data = encode(small())
    at = data.index(b"precise")
    with pytest.raises(
        RefsrError, match=rf"small\.caffemodel: byte {at}: layer 4: a name that is not UTF-8"
    ):
        read(file, data[:at] + b"\xff" + data[at + 1 :])


FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FUZZ
@given(st.integers(0, len(encode(small())) - 1))
def test_a_truncated_file_is_refused_or_ends_between_two_layers(file: Path, length: int) -> None:
    try:
        layers = read(file, encode(small())[:length])
    except RefsrError as error:
        assert str(file) in str(error)
        return
    assert len(layers) < len(small())
    assert same(layers, small()[: len(layers)])


@FUZZ
@given(st.lists(st.integers(0, 8 * len(encode(small())) - 1), min_size=1, max_size=4))
def test_flipped_bits_give_layers_or_a_refusal(file: Path, bits: list[int]) -> None:
    data = bytearray(encode(small()))
    for bit in bits:
        data[bit // 8] ^= 1 << bit % 8
    _read_or_refuse(file, bytes(data))


@FUZZ
@given(st.binary(max_size=200))
def test_noise_gives_layers_or_a_refusal(file: Path, data: bytes) -> None:
    _read_or_refuse(file, data)
    _read_or_refuse(file, layer(blob(7, data[:90])))


def _read_or_refuse(file: Path, data: bytes) -> None:
    try:
        for _, _, blobs in read(file, data):
            assert sum(array.nbytes for array in blobs) <= len(data)
    except RefsrError as error:
        assert str(file) in str(error)


LONG = b"\xff" * 9
HOSTILE = {
    "nothing": (b"", "cannot be read"),
    "a page": (b"<!DOCTYPE html><html>", "byte 0: the network: no field begins like this"),
    "a solver's state": (b"\x08\x80\x9a\x0c", "field 1 has wire type 0, not 2"),
    "no layers": (blob(1, b"STSR"), "no layers"),
    "the old format": (blob(2, b""), "layers in Caffe's old format"),
    "field 0": (b"\x02\x00", "number 0"),
    "a group": (b"\xa3\x06\xa4\x06", "wire type 3"),
    "an endless layer": (b"\xa2\x06" + LONG + b"\x01", "goes on for 18446744073709551615 bytes"),
    "an endless number": (b"\x28" + LONG + b"\xff", "a number of more than 10 bytes"),
    "a number cut short": (b"\x28\xff", "byte 2: the network: ends within a number"),
    "a layer of one number": (b"\xa0\x06\x01", "layer 1: field 100 has wire type 0"),
    "too many fields": (b"\x28\x01" * 100_001, "more than 100000 fields"),
    "a long name": (b"\xa2\x06\xb0\x02" + b"\x0a\xad\x02" + b"x" * 301, "a name of 301 bytes"),
    "an endless blob": (layer(b"\x3a\xff\xff\xff\x7f"), "layer 'ip1': field 7 goes on for"),
    "endless values": (
        layer(blob(7, b"\x2a\xff\xff\xff\x7f")),
        "layer 'ip1', blob 0: field 5 goes on for",
    ),
    "a shape without values": (
        layer(blob(7, blob(7, blob(1, b"\xff\xff\xff\x7f" * 2)))),
        "but it holds 0 values",
    ),
    "a large shape": (
        layer(blob(7, blob(7, blob(1, b"\xff\xff\xff\x7f" * 2)) + blob(5, bytes(8)))),
        "layer 'ip1', blob 0: its shape is (268435455, 268435455), but it holds 2 values",
    ),
    "a negative axis": (
        layer(blob(7, blob(7, blob(1, LONG + b"\x01")) + blob(5, bytes(4)))),
        "(18446744073709551615,",
    ),
    "an axis cut short": (
        layer(blob(7, blob(7, blob(1, b"\x80")))),
        "blob 0, its shape: ends within a number",
    ),
    "many axes": (layer(blob(7, blob(7, blob(1, b"\x01" * 33)))), "more than 32 axes"),
    "half a value": (layer(blob(7, blob(5, bytes(7)))), "7 bytes of values are no whole number"),
    "values twice": (
        layer(blob(7, blob(5, bytes(4)) + blob(8, bytes(8)))),
        "its values stand there twice",
    ),
    "two shapes": (
        layer(blob(7, b"\x08\x01" + blob(7, blob(1, b"\x01")) + blob(5, bytes(4)))),
        "of the old kind",
    ),
    "axes as bytes": (layer(blob(7, blob(1, b"\x01"))), "field 1 has wire type 2, not 0"),
    "values one by one": (layer(blob(7, b"\x2d" + bytes(4))), "field 5 has wire type 5, not 2"),
}  # fmt: skip


@pytest.mark.parametrize("fault", HOSTILE)
def test_a_hostile_file_is_refused_without_much_memory(fault: str, file: Path) -> None:
    data, message = HOSTILE[fault]
    tracemalloc.start()
    try:
        with pytest.raises(RefsrError) as refused:
            read(file, data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert message in str(refused.value)
    assert peak < 2**20


@pytest.mark.parametrize("make", [lambda path: None, Path.mkdir], ids=["missing", "folder"])
def test_what_is_no_file_is_refused(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "x")
    with pytest.raises(
        RefsrError, match=r"x: cannot be read: .*; name a \.caffemodel that is there"
    ):
        read_layers(tmp_path / "x")
