"""A writer of .caffemodel files.

Nothing here comes from refsr: Google's protobuf writes the file from the field numbers of
Caffe's caffe.proto.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
from caffe_nets import Blobs, Spec
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

Kind = descriptor_pb2.FieldDescriptorProto
# Message -> (name, number, type or message, repeated) of each field.
FIELDS: dict[str, list[tuple[str, int, Any, bool]]] = {
    "BlobShape": [("dim", 1, Kind.TYPE_INT64, True)],
    "BlobProto": [
        ("num", 1, Kind.TYPE_INT64, False), ("channels", 2, Kind.TYPE_INT64, False),
        ("height", 3, Kind.TYPE_INT64, False), ("width", 4, Kind.TYPE_INT64, False),
        ("data", 5, Kind.TYPE_FLOAT, True), ("diff", 6, Kind.TYPE_FLOAT, True),
        ("shape", 7, "BlobShape", False), ("double_data", 8, Kind.TYPE_DOUBLE, True),
    ],
    "ParamSpec": [("name", 1, Kind.TYPE_STRING, False), ("lr_mult", 3, Kind.TYPE_FLOAT, False)],
    "LayerParameter": [
        ("name", 1, Kind.TYPE_STRING, False), ("type", 2, Kind.TYPE_STRING, False),
        ("bottom", 3, Kind.TYPE_STRING, True), ("top", 4, Kind.TYPE_STRING, True),
        ("loss_weight", 5, Kind.TYPE_FLOAT, True), ("param", 6, "ParamSpec", True),
        ("blobs", 7, "BlobProto", True), ("phase", 10, Kind.TYPE_INT32, False),
    ],
    "NetParameter": [
        ("name", 1, Kind.TYPE_STRING, False), ("layers", 2, "LayerParameter", True),
        ("input", 3, Kind.TYPE_STRING, True), ("input_dim", 4, Kind.TYPE_INT32, True),
        ("force_backward", 5, Kind.TYPE_BOOL, False), ("layer", 100, "LayerParameter", True),
    ],
}  # fmt: skip
PACKED = ("dim", "data", "diff", "double_data")


@cache
def messages(data_as_bytes: bool = False) -> dict[str, Any]:
    """Classes of Caffe's messages.

    A packed float is on the wire as bytes are, and those can be written in one go.
    """
    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    for name, fields in FIELDS.items():
        message = file.message_type.add(name=name)
        for field, number, kind, repeated in fields:
            one = data_as_bytes and field in ("data", "double_data")
            label = Kind.LABEL_REPEATED if repeated and not one else Kind.LABEL_OPTIONAL
            added = message.field.add(name=field, number=number, label=label)
            added.type = (
                Kind.TYPE_MESSAGE if isinstance(kind, str) else Kind.TYPE_BYTES if one else kind
            )
            if isinstance(kind, str):
                added.type_name = f".caffe.{kind}"
            if field in PACKED and not one:
                added.options.packed = True
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe.{name}"))
        for name in FIELDS
    }


def encode(
    layers: Iterable[tuple[str, str, list[np.ndarray]]], legacy: bool = False, quick: bool = False
) -> bytes:
    """(name, type, blobs) of each layer -> a NetParameter, blobs of float64 as double_data;
    `legacy` for 4-D blobs.
    """
    net = messages(quick)["NetParameter"](
        name="STSR", input=["data"], input_dim=[1, 3, 16, 16], force_backward=True
    )
    for name, kind, blobs in layers:
        layer = net.layer.add(
            name=name, type=kind, bottom=["in"], top=[name], phase=0, loss_weight=[1.0]
        )
        for array in blobs:
            layer.param.add(name=f"{name}_w", lr_mult=1)
            blob = layer.blobs.add()
            if legacy:
                shape = (1,) * (4 - array.ndim) + array.shape
                blob.num, blob.channels, blob.height, blob.width = shape
            elif array.ndim:
                blob.shape.dim.extend(array.shape)
            field = "double_data" if array.dtype == np.float64 else "data"
            setattr(blob, field, array.tobytes()) if quick else getattr(blob, field).extend(
                array.ravel().tolist()
            )
    data: bytes = net.SerializeToString(deterministic=True)
    return data


def released(specs: list[Spec], blobs: Blobs) -> list[tuple[str, str, list[np.ndarray]]]:
    """The layers as training saves them: with its data, its splits,
    its constants and VGG-19's first layer.
    """
    layers = [("data", "HDF5Data", []), ("data_data_0_split", "Split", [])]
    layers += [(spec.name, spec.type, blobs.get(spec.name, [])) for spec in specs]
    layers += [
        ("sd_scale", "Scale", [np.full(1024, 10, np.float32)]),
        ("bias_R", "Bias", [np.full(1, -123.68, "f4")]),
    ]
    vgg = [np.ones((64, 3, 3, 3), np.float32), np.zeros(64, np.float32)]
    return [*layers, ("conv1_1", "Convolution", vgg), ("relu1_1", "ReLU", [])]
