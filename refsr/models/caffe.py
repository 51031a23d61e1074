"""Weights of the authors' Caffe networks for the variant `release`.

Names and shapes are those of SISR_VAE.prototxt and RefSR_VAE.prototxt (Holmes-Alan/RefSR on
GitHub). Nothing is transposed: Caffe and torch both keep a convolution's weights as (out, in, kh,
kw), a transposed one's as (in, out, kh, kw), a fully connected layer's as (out, in) with its input
flattened as (C, H, W). Nor are channels swapped: the authors' notebooks feed RGB in [0, 1].
docs/how-to/import-caffe.md says what was not checked.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from torch import nn

from refsr.errors import RefsrError
from refsr.io.files import file_hash
from refsr.io.output import check_file
from refsr.models import build
from refsr.models.caffe_file import Blob, Layer, read_layers
from refsr.models.checkpoint import is_checkpoint, save_model

TYPES = {
    nn.Conv2d: "Convolution",
    nn.ConvTranspose2d: "Deconvolution",
    nn.Linear: "InnerProduct",
    nn.PReLU: "PReLU",
}  # torch's layer -> Caffe's type
KINDS = {
    64: "refsr",
    128: "sisr",
}  # channels into the first UBP block: RefSR adds skip and code, SISR joins them


def _modules() -> dict[str, str]:
    """Layer of the files -> the network's submodule that takes its weights."""
    trunk = [f"feat{stage}_{part}" for stage in (1, 2, 3, 4) for part in (1, 2)]
    modules = {name: f"trunk.{2 * index}" for index, name in enumerate(trunk)}
    modules |= {"input1": "skip.0", "input2": "skip.2"}
    modules |= {"encoder1": "latent.0", "encoder2": "latent.2", "encoder3": "latent.4"}
    modules |= {"ip1": "latent.7", "ip2": "latent.9", "ip3": "latent.11"}
    modules |= {"generator1": "generator.1", "generator2": "generator.3"}
    modules |= {
        "ip4": "decoder.0",
        "ip5": "decoder.2",
        "ip6": "decoder.4",
        "decoder1": "decoder.7",
    }
    modules |= {"relu_decoder1": "activation", "SR_res": "output"}
    block = {
        "conv1": "up.0", "relu1": "up.1",
        "conv2": "down.0", "relu2": "down.1", "local_output": "project",
        "conv3": "up_error.0", "relu3": "up_error.1",
        "local_conv1": "refine", "relu_output": "activation",
    }  # fmt: skip
    for stage in (1, 2, 3):
        modules |= {
            f"{name}_SR_s{stage}": f"ubp.{stage - 1}.{module}" for name, module in block.items()
        }
    return modules


def _left_out() -> dict[str, str]:
    """Layer of the files whose blobs the network has no use for -> why."""
    stages = enumerate((2, 2, 4, 4, 4), 1)  # of VGG-19, and the convolutions in each
    vgg = {
        f"conv{s}_{part + 1}": "VGG-19, of the training loss"
        for s, parts in stages
        for part in range(parts)
    }
    constants = ("sd_scale", "scaleAndAdd", "scale_down", "bias_R", "bias_G", "bias_B")
    return vgg | dict.fromkeys(constants, "a constant of the training loss")


MODULES = _modules()
LEFT_OUT = _left_out()


class Imported(NamedTuple):
    """What became of a file: every blob of it is either in the network or left out."""

    model: str  # "sisr" or "refsr"
    parameters: int
    layers: int  # whose blobs were taken
    left_out: dict[str, str]  # "layer[blob]" -> why


def import_caffe(source: Path, checkpoint: Path, hr_size: int = 128, scale: int = 8) -> Imported:
    """Write the network of a .caffemodel as a checkpoint of the variant `release`.

    A file does not say by which factor its LR images were enlarged: that is `scale`. Raises
    RefsrError, and writes nothing, where the file is damaged, is of another network or size, or
    lacks a parameter.
    """
    check_file(checkpoint, [("file", source)], is_checkpoint)
    layers = _with_blobs(source, read_layers(source))
    model = _kind(source, layers)
    _check_size(source, layers, hr_size)
    with torch.device("meta"):  # shapes alone: the values come from the file
        network = build({"model": model, "variant": "release", "hr_size": hr_size, "scale": scale})
    tensors: dict[str, torch.Tensor] = {}
    for name, module in MODULES.items():
        tensors |= _parameters(source, layers[name], module, network)
    network.load_state_dict(tensors, assign=True)
    left_out = {
        f"{name}[{index}]": LEFT_OUT[name]
        for name, layer in layers.items()
        for index in range(len(layer.blobs))
        if name in LEFT_OUT
    }
    _save(
        checkpoint,
        network,
        {"source": source.name, "sha256": file_hash(source), "left_out": left_out},
    )
    return Imported(
        model,
        sum(tensor.numel() for tensor in tensors.values()),
        len(MODULES),
        left_out,
    )


def _with_blobs(source: Path, layers: list[Layer]) -> dict[str, Layer]:
    """The layers with blobs, by name: all that the network needs, and none that is not known."""
    by_name: dict[str, Layer] = {}
    for layer in layers:
        if layer.name in by_name and (layer.blobs or layer.name in MODULES):
            raise _error(source, layer, "is there twice")
        if layer.blobs and layer.name not in MODULES and layer.name not in LEFT_OUT:
            raise _error(
                source,
                layer,
                "is in neither of the authors' networks, and holds weights",
            )
        if layer.blobs or layer.name in MODULES:
            by_name[layer.name] = layer
    for name, module in MODULES.items():
        if name not in by_name:
            raise RefsrError(
                f"{source}: no layer {name!r}, so nothing for {module}; give the file that "
                "training wrote (one saved from the deployed SISR network has no encoder)"
            )
    return by_name


def _kind(source: Path, layers: dict[str, Layer]) -> str:
    layer = layers["conv1_SR_s1"]
    channels = layer.blobs[0].shape[0] if layer.blobs and layer.blobs[0].shape else 0
    if channels not in KINDS:
        raise _error(source, layer, f"takes {channels} channels; RefSR's takes 64, SISR's 128")
    return KINDS[channels]


def _check_size(source: Path, layers: dict[str, Layer], hr_size: int) -> None:
    """The first fully connected layer sees the whole image, so that its shape gives the size."""
    layer = layers["generator1"]
    inputs = layer.blobs[0].shape[-1] if layer.blobs and layer.blobs[0].shape else 0
    if inputs != 3 * hr_size**2:
        side = math.isqrt(inputs // 3)
        hint = f": give --hr {side}" if inputs == 3 * side**2 else ""
        raise _error(
            source,
            layer,
            f"takes {inputs} values, but an HR image of side {hr_size} has {3 * hr_size**2}{hint}",
        )


def _parameters(
    source: Path,
    layer: Layer,
    module: str,
    network: nn.Module,
) -> dict[str, torch.Tensor]:
    """The tensors of one submodule by their names in the network: weight, then bias."""
    target = network.get_submodule(module)
    expected = dict(target.named_parameters())
    if layer.type != TYPES[type(target)]:
        raise _error(
            source,
            layer,
            f"is of type {layer.type!r}; {module} takes a {TYPES[type(target)]}",
        )
    if len(layer.blobs) != len(expected):
        raise _error(
            source,
            layer,
            f"has {len(layer.blobs)} blobs; {module} takes {len(expected)}: {', '.join(expected)}",
        )
    tensors = {}
    for index, (name, parameter) in enumerate(expected.items()):
        blob, shape = layer.blobs[index], tuple(parameter.shape)
        if not _fits(blob, shape, scalar=isinstance(target, nn.PReLU)):
            fault = f"blob {index} is {blob.shape}; {module}.{name} takes {shape}"
            raise _error(source, layer, fault, blob.offset)
        tensors[f"{module}.{name}"] = _tensor(source, layer, index).reshape(shape)
    return tensors


def _fits(blob: Blob, shape: tuple[int, ...], scalar: bool) -> bool:
    if blob.legacy:
        return blob.shape == (1,) * (4 - len(shape)) + shape
    return blob.shape == shape or (
        scalar and blob.shape == ()
    )  # a slope for all channels is a scalar in Caffe


def _tensor(source: Path, layer: Layer, index: int) -> torch.Tensor:
    """The values of a blob in memory of their own, float64 rounded to float32 as Caffe does."""
    blob = layer.blobs[index]
    with np.errstate(over="ignore", invalid="ignore"):
        values = blob.values.astype(np.float32)
        total = values.sum(dtype=np.float64)  # no sum of so few float32 overflows
    if not np.isfinite(total):
        raise _error(source, layer, f"blob {index} holds values that are not finite", blob.offset)
    return torch.from_numpy(values)


def _save(path: Path, network: nn.Module, facts: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_model(path, network, facts)
    except (OSError, SafetensorError) as error:
        raise RefsrError(
            f"{path}: cannot be written: {error}; make room, or name another path with -o",
        ) from error


def _error(source: Path, layer: Layer, fault: str, offset: int | None = None) -> RefsrError:
    at = layer.offset if offset is None else offset
    return RefsrError(f"{source}: byte {at}: layer {layer.name!r} {fault}")
