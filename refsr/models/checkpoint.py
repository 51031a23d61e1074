"""A model in one file: safetensors (data, never code).

Its header carries the configuration that the model is rebuilt from.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn
from torch.overrides import TorchFunctionMode

from refsr.errors import RefsrError
from refsr.face_crops import LANDMARKS, USUAL
from refsr.io.atomic import write_file
from refsr.io.exhausted import out_of_memory
from refsr.models import SuperResolver, build
from refsr.models.compatibility import Comparing, read_compatibility

COMPATIBILITY = "compatibility"  # among the facts
SHARP = "sharp."  # before the names of the weights of the generative phase
_SHOWN = 500  # characters of an error in a message


def save_model(path: Path, model: nn.Module, facts: dict[str, Any] | None = None) -> None:
    """Write weights, configuration and JSON-able `facts` (step, scores, ...), then rename.

    By what the network rates references, where it has learned that, is a fact too.
    """
    facts = dict(facts or {})
    if isinstance(model, Comparing) and model.compatibility is not None:
        facts[COMPATIBILITY] = model.compatibility._asdict()
    save_tensors(path, cast(SuperResolver, model).config, model.state_dict(), facts)


def save_tensors(
    path: Path,
    config: Mapping[str, Any],
    weights: Mapping[str, torch.Tensor],
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint of weights by name, as `save_model` does."""
    # one key: safetensors writes several in an order of its own, and the same model is to be the
    # same bytes
    header = {"refsr": json.dumps({"config": config, "facts": facts or {}})}
    tensors = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
    # `save_file` has a temporary file of its own, which a kill leaves behind, and no other user can
    # read what it writes
    content = save(tensors, metadata=header)
    write_file(path, lambda partial: partial.write_bytes(content))


def add_facts(path: Path, facts: dict[str, Any]) -> None:
    """Write more facts into the header of a checkpoint; its weights stay as they are."""
    config, known, tensors = read_checkpoint(path)
    save_tensors(path, config, tensors, known | facts)


def is_checkpoint(path: Path) -> bool:
    """Whether `save_model` wrote a file, by its header."""
    try:
        with safe_open(path, framework="pt") as file:
            return "refsr" in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def load_model(path: Path, device: str = "cpu", realism: float = 0.0) -> nn.Module:
    """The network of a checkpoint, in evaluation mode.

    `realism` in [0, 1] is the place of its weights on the line from the faithful ones to those of
    the generative phase. Raises RefsrError where the file is missing or damaged, of a version whose
    networks had another shape, or without such a phase where `realism` is not 0.
    """
    config, facts, tensors = read_checkpoint(path)
    faithful, sharp = _faithful_and_sharp(tensors)
    if not 0 <= realism <= 1:
        raise RefsrError(f"realism {realism}: a number from 0 to 1 is expected")
    if realism and not sharp:
        raise RefsrError(
            f"{path}: realism {realism}: the model has no weights of a generative phase; "
            "leave realism out, or train with train_refsr.sharpen.steps"
        )
    try:
        _require_numbers(tensors)
        for weights in (faithful, *([sharp] if sharp else [])):
            _require_same_shapes(config, weights)
        model = build(config)
        model.load_state_dict(_between(faithful, sharp, realism))
        if COMPATIBILITY in facts and isinstance(model, Comparing):
            model.compatibility = read_compatibility(facts[COMPATIBILITY])
    except (RefsrError, RuntimeError, TypeError, ValueError, LookupError, ArithmeticError) as error:
        if out_of_memory(error):
            raise
        advice = "train again, or use the version that trained it"
        reason = str(error)[:_SHOWN]
        raise RefsrError(
            f"{path}: does not fit this version of refsr; {advice} ({reason})"
        ) from error
    return model.to(device).eval()


def add_sharp(path: Path, sharp: Mapping[str, torch.Tensor]) -> None:
    """Put weights of the generative phase beside those of a checkpoint."""
    config, facts, tensors = read_checkpoint(path)
    named = {SHARP + name: value for name, value in sharp.items()}
    save_tensors(path, config, tensors | named, facts)


def has_sharp(path: Path) -> bool:
    """Whether a checkpoint holds weights of a generative phase."""
    with _opened(path) as (file, _, _):
        return any(name.startswith(SHARP) for name in file.keys())  # noqa: SIM118 - not a dict


Weights = dict[str, torch.Tensor]


def _faithful_and_sharp(tensors: Weights) -> tuple[Weights, Weights]:
    sharp = {name.removeprefix(SHARP): t for name, t in tensors.items() if name.startswith(SHARP)}
    return {name: t for name, t in tensors.items() if not name.startswith(SHARP)}, sharp


def _between(faithful: Weights, sharp: Weights, realism: float) -> Weights:
    if not realism:
        return faithful
    return {name: torch.lerp(value, sharp[name], realism) for name, value in faithful.items()}


def _require_numbers(tensors: Mapping[str, torch.Tensor]) -> None:
    """Raises RefsrError where a weight is NaN or infinite."""
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise RefsrError(f"{name}: not all of it are numbers")


class _NothingRandom(TorchFunctionMode):
    """Leaves out normal numbers: on the meta device they make torch load its compiler."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function in (torch.Tensor.normal_, nn.init.normal_):
            return args[0] if args else kwargs["tensor"]
        return function(*args, **(kwargs or {}))


def _require_same_shapes(config: dict[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise RefsrError where a network of this configuration has other tensors.

    No memory is taken for them.
    """
    with torch.device("meta"), _NothingRandom():
        shapes = {key: tensor.shape for key, tensor in build(config).state_dict().items()}
    for name in sorted(shapes.keys() | tensors.keys()):
        own, read = shapes.get(name), tensors[name].shape if name in tensors else None
        if own != read:
            both = [tuple(shape) if shape is not None else "no" for shape in (own, read)]
            raise RefsrError(f"{name}: {both[0]} in the network, {both[1]} in the file")


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, torch.Tensor]]:
    """(config, facts, tensors by name) of a checkpoint.

    Raises RefsrError where it is missing or damaged.
    """
    with _opened(path) as (file, config, facts):
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    return config, facts, tensors


def read_header(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(config, facts) of a checkpoint, without its tensors. Raises as `read_checkpoint`."""
    with _opened(path) as (_, config, facts):
        return config, facts


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, Any], dict[str, Any]]]:
    """The file, config and facts of a checkpoint; what fails in the block is its damage."""
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["refsr"])
            config, facts = header["config"], header["facts"]
            if not isinstance(config, dict) or not isinstance(facts, dict):
                raise TypeError("its header is no configuration")
            _require_facts(facts)
            yield file, _with_new_options(config), facts
    except FileNotFoundError as error:
        raise RefsrError(f"{path}: no such checkpoint; train one first (`dvc repro`)") from error
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise RefsrError(
            f"{path}: not a checkpoint of this project ({error}); train again or fetch it anew"
        ) from error


def _with_new_options(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a checkpoint that an older version wrote, before it had every option."""
    if config.get("variant") != "compact":
        return config
    of_reference = {"offsets": False} if config.get("model") == "refsr" else {}
    return {"align": False} | of_reference | config


def _require_facts(facts: Mapping[str, Any]) -> None:
    """Raises ValueError where what a checkpoint says of its training cannot be."""
    step, networks = facts.get("step", 0), facts.get("loss_networks", [])
    if isinstance(step, bool) or not isinstance(step, int) or step < 0:
        raise ValueError(f"step {step!r} in its header")
    if not isinstance(networks, list) or not all(isinstance(name, str) for name in networks):
        raise ValueError(f"loss_networks {networks!r} in its header")
    points = np.array(facts.get(LANDMARKS, USUAL), dtype=np.float64)
    if points.shape != (5, 2) or not (np.abs(points) < 1).all():
        raise ValueError(f"{LANDMARKS} in its header are no five points of a crop")


def load_matching(
    target: nn.Module, tensors: Mapping[str, torch.Tensor]
) -> tuple[list[str], dict[str, str]]:
    """Start `target` from another network: copy each tensor that has its name and its shape.

    Returns (the names loaded, why each of the target's other tensors was left as it was, by name).
    """
    loaded, skipped = [], {}
    for name, own in target.state_dict().items():
        if name not in tensors:
            skipped[name] = "not in the source"
        elif tensors[name].shape != own.shape:
            skipped[name] = f"{tuple(tensors[name].shape)} in the source, {tuple(own.shape)} here"
        else:
            loaded.append(name)
    target.load_state_dict({name: tensors[name] for name in loaded}, strict=False)
    return loaded, skipped
