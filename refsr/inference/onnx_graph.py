"""A network -> its ONNX graph, of open batch, number of references and, where it can, size.

Networks are exported by tracing (`dynamo=False`): with open sizes it takes two seconds, where
torch.export takes a minute, and it needs no further package.
"""

import copy
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import onnx
import torch
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper
from torch import nn

from refsr.inference import fitting
from refsr.inference.onnx_symbols import OPSET, own_symbols
from refsr.inference.onnx_upscaler import FITS, RATE
from refsr.models import SuperResolver
from refsr.models.compatibility import Comparing, score

IR_VERSION = 10  # of the time of OPSET
_OPEN = {
    "lr": {0: "batch"},
    "ref": {0: "batch", 1: "references"},
    "sr": {0: "batch"},
    FITS: {0: "batch", 1: "references"},
}
_OPEN_SIDES = {
    "lr": {2: "lr_height", 3: "lr_width"},
    "ref": {3: "ref_height", 4: "ref_width"},
    "sr": {2: "height", 3: "width"},
    FITS: {},
}


def branches_of(network: nn.Module, any_size: bool) -> list[ModelProto]:
    """The graph without references; before it, of a reference network, the one with them.

    Inputs are lr (B, 3, h, w) and ref (B, R, 3, H, W), the output is sr.

    Args:
        network: On the CPU, in evaluation mode.
        any_size: Whether it takes LR of other sizes than its own.
    """
    is_single = cast(SuperResolver, network).config["model"] == "sisr"
    counts = (0,) if is_single else (2, 0)
    network = _with_open_pooling(network)
    return [_traced(_Deployed(network), network, any_size, references) for references in counts]


def rating_of(network: nn.Module, any_size: bool) -> ModelProto | None:
    """The graph that rates references: lr and ref as in `branches_of`, the output is fits (B, R).

    None for a network that does not rate them, see refsr.models.compatibility.score.
    """
    if not isinstance(network, Comparing) or network.compatibility is None:
        return None
    network = _with_open_pooling(network)
    return _traced(_Rating(network), network, any_size, 2, FITS)


def joined(
    network: nn.Module, branches: Sequence[ModelProto], rating: ModelProto | None = None
) -> ModelProto:
    """One graph of these branches: R of ref may be 0.

    Attention to no reference would be a mean over nothing, hence two graphs. A network that
    ignores references (`mode: lr`) needs one, and has no such input. Where the network rates
    references, the input `rate`, False if it is not given, asks for the output fits (B, R) instead:
    the other one is empty.
    """
    if all(each.name != "ref" for each in branches[0].graph.input):
        return branches[-1]
    shared = set(_shared(network))
    weights = {
        each.name: each
        for model in branches
        for each in model.graph.initializer
        if each.name in shared
    }
    with_references, alone = (_without(model.graph, shared) for model in branches)
    none = helper.make_tensor("none", TensorProto.INT64, [1], [0])
    nodes = [
        helper.make_node("Shape", ["ref"], ["references"], start=1, end=2),
        helper.make_node("Constant", [], ["none"], value=none),
        helper.make_node("Greater", ["references", "none"], ["has_references"]),
    ]
    outer = branches[0].graph
    inputs, outputs, initializers = [*outer.input], [*outer.output], [*weights.values()]
    restoring = _branching("has_references", "sr", with_references, alone)
    if rating is None:
        nodes.append(restoring)
    else:
        inputs.append(helper.make_tensor_value_info(RATE, TensorProto.BOOL, [1]))
        outputs += rating.graph.output
        initializers.append(helper.make_tensor(RATE, TensorProto.BOOL, [1], [False]))
        restore = helper.make_graph([restoring], "branch", [], outer.output)
        nodes += [
            _branching(RATE, "sr", _empty("sr", 4), restore),
            _branching(RATE, FITS, _without(rating.graph, shared), _empty(FITS, 2)),
        ]
    graph = helper.make_graph(nodes, "refsr", inputs, outputs, initializers)
    imports = branches[0].opset_import
    return helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION)


def _branching(condition: str, output: str, yes: GraphProto, no: GraphProto) -> NodeProto:
    return helper.make_node("If", [condition], [output], then_branch=yes, else_branch=no)


def _empty(output: str, axes: int) -> GraphProto:
    """The branch for what nobody asked for: a tensor of no elements."""
    value = helper.make_tensor("empty", TensorProto.FLOAT, [0] * axes, [])
    node = helper.make_node("Constant", [], [output], value=value)
    info = helper.make_tensor_value_info(output, TensorProto.FLOAT, [0] * axes)
    return helper.make_graph([node], "branch", [], [info])


def _shared(network: nn.Module) -> Iterator[str]:
    """Weights of which a file with two branches holds one copy for both.

    Those of convolutions are small, and stand in each branch: only there does ONNX Runtime reorder
    them for speed.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear):
            yield f"network.{name}.weight"


def _without(graph: GraphProto, shared: set[str]) -> GraphProto:
    """The graph as a branch, which takes its inputs and shared weights from outside."""
    own = [each for each in graph.initializer if each.name not in shared]
    return helper.make_graph(graph.node, "branch", [], graph.output, own)


class _Deployed(nn.Module):
    """What a network does once it is trained."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, lr: torch.Tensor, ref: torch.Tensor | None = None) -> torch.Tensor:
        return cast(SuperResolver, self.network).upscale(lr, ref)


class _Rating(nn.Module):
    """How well references fit."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, lr: torch.Tensor, ref: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, score(self.network, lr, ref)).float()


class _Pool(nn.Module):
    """nn.AdaptiveAvgPool2d by two matrices: ONNX has no such pooling of open sizes."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, columns = (self._means(length) for length in x.shape[-2:])
        pooled: torch.Tensor = rows @ x @ columns.mT
        return pooled

    def _means(self, length: int) -> torch.Tensor:
        cell, place = torch.arange(self.side)[:, None], torch.arange(length)[None]
        start, end = cell * length // self.side, ((cell + 1) * length + self.side - 1) // self.side
        inside = ((start <= place) & (place < end)).float()
        return inside / inside.sum(1, keepdim=True)


def _traced(
    task: nn.Module, network: nn.Module, any_size: bool, references: int, output: str = "sr"
) -> ModelProto:
    side, hr_size = fitting.sizes(cast(SuperResolver, network).config)
    images = {"lr": torch.rand(2, 3, side, side)}
    if references:
        images["ref"] = torch.rand(2, references, 3, hr_size, hr_size)
    axes = {
        name: _OPEN[name] | (_OPEN_SIDES[name] if any_size else {}) for name in (*images, output)
    }
    with tempfile.TemporaryDirectory(prefix="refsr-export-") as folder:
        file = Path(folder) / "traced.onnx"
        with own_symbols(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tracing: what came of it is compared
            torch.onnx.export(
                task.eval(),
                tuple(images.values()),
                file,
                input_names=list(images),
                output_names=[output],
                opset_version=OPSET,
                dynamic_axes=axes,
                dynamo=False,
            )
        return onnx.load(file)


def _with_open_pooling(network: nn.Module) -> nn.Module:
    """A copy whose pooling takes any size in ONNX."""
    network = copy.deepcopy(network)
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d):
                setattr(parent, name, _Pool(cast(int, child.output_size)))
    return network
