"""A model in a folder as Hugging Face's hub has it: model.safetensors, config.json, README.md."""

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml
from safetensors.torch import load_file

from refsr.errors import RefsrError
from refsr.evaluation.conditions import CONDITIONS, RIGHT
from refsr.evaluation.metrics import METRICS
from refsr.integrations.registry import CARD, CHECKPOINT, registered_name
from refsr.integrations.versions import Versions
from refsr.io import marker
from refsr.io.own_files import read_json, reading
from refsr.models.checkpoint import is_checkpoint, load_model, read_checkpoint, save_tensors
from refsr.reporting.summary import about, summary_metrics
from refsr.version import __version__

CONFIG, README = "config.json", "README.md"
OTHER = "other"  # the hub's word where no licence of its list is stated
_OF_THE_LIBRARY = {"library_name": "refsr", "library_version": __version__}  # keys of config.json
_TAGS = ["super-resolution", "face-super-resolution", "reference-based", "safetensors"]
_TASK = {"type": "image-to-image", "name": "Reference-based face super-resolution"}
_LICENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}")
_USE = """
## Use

```python
import refsr

model = refsr.load("FOLDER")  # this folder
large = model.upscale(photo, portrait)  # (h, w, 3) uint8 RGB
```
"""
_BODY = """# {model} model, variant {variant}, {scale}x to {hr_size}x{hr_size} pixels

It was not registered, so that no model card says what it was trained on. Details that the small
photo does not contain are invented: a result is never evidence of who was seen.
"""


class Described(NamedTuple):
    """What the registry has of a version beside its checkpoint."""

    model: str  # models:/NAME/NUMBER
    card: str
    metrics: dict[str, Any]


def described(tracking_uri: str, model: str) -> Described:
    """A registered version, whose alias may move meanwhile. Raises RefsrError without one."""
    name, version = registered_name(model)
    versions = Versions(tracking_uri, name)
    number = versions.resolve(version)
    with tempfile.TemporaryDirectory() as folder:
        _, _, registration = versions.download(number, Path(folder))
        card = registration / CARD
        text = card.read_text(encoding="utf-8") if card.is_file() else ""
    return Described(f"models:/{name}/{number}", text, versions.metrics(number))


def write(
    folder: Path,
    checkpoint: Path,
    licence: str = OTHER,
    card: str = "",
    metrics: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Write the three files.

    The checkpoint is copied byte for byte, so that its hash is that of the registry.

    Args:
        folder: An existing folder.
        checkpoint: The checkpoint file.
        licence: An identifier of the hub's list.
        card: The model card, as Markdown.
        metrics: The content of metrics.json of an evaluation.

    Raises:
        RefsrError: The checkpoint is damaged, or the licence is no identifier.
    """
    check_licence(licence)
    config, _, _ = read_checkpoint(checkpoint)
    (folder / CHECKPOINT).write_bytes(checkpoint.read_bytes())
    text = json.dumps(_OF_THE_LIBRARY | config, indent=2)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
    front = yaml.safe_dump(_front_matter(licence, metrics), sort_keys=False, allow_unicode=True)
    body = card or _BODY.format(**config)
    (folder / README).write_text(f"---\n{front}---\n\n{body}{_USE}", encoding="utf-8")


def check_licence(licence: str) -> None:
    """Raises RefsrError where it is no identifier, such as apache-2.0."""
    if not _LICENCE.fullmatch(licence):
        raise RefsrError(
            f"--license {licence!r}: name one of the hub's identifiers, such as apache-2.0, "
            f"cc-by-nc-4.0 or {OTHER}"
        )


def _front_matter(licence: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    front = {
        "library_name": "refsr",
        "pipeline_tag": "image-to-image",
        "license": licence,
        "tags": _TAGS,
    }
    if not metrics:
        return front
    try:
        values = list(_values(metrics))
        name = about(metrics) if "data" in metrics else "held-out identities"
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RefsrError(f"the metrics of the evaluation are damaged ({error!r})") from error
    dataset = {"type": "identity-groups", "name": name}
    result = {"task": _TASK, "dataset": dataset, "metrics": values}
    return front | {"model-index": [{"name": "refsr", "results": [result]}]}


def _values(metrics: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name in summary_metrics(metrics):
        if RIGHT in metrics[name]:
            metric = METRICS[name]
            yield {
                "type": name,
                "name": f"{metric.title}, {CONDITIONS[RIGHT].title}",
                "value": round(metrics[name][RIGHT]["mean"], metric.digits),
            }


def read(folder: Path, checkpoint: Path) -> dict[str, Any]:
    """Write the checkpoint of a folder of this form; weights without our header get one.

    Args:
        folder: It holds CHECKPOINT and CONFIG.
        checkpoint: The file to write.

    Returns:
        The configuration of the network.

    Raises:
        RefsrError: Files are missing or damaged, contradict one another, or do not fit this
            version of refsr.
    """
    for name in (CHECKPOINT, CONFIG):
        if not (folder / name).is_file():
            raise RefsrError(f"{folder / name}: no such file; `refsr push {folder}` writes it")
    marker.require_whole(folder)
    weights, document = folder / CHECKPOINT, read_json(folder / CONFIG, "push")
    config = {key: value for key, value in document.items() if key not in _OF_THE_LIBRARY}
    if is_checkpoint(weights):
        _require_same(folder, config)
        checkpoint.write_bytes(weights.read_bytes())
    else:
        with reading(weights, "push"):
            save_tensors(checkpoint, config, load_file(weights))
    load_model(checkpoint)
    return config


def require_unchanged(folder: Path) -> None:
    """Raises RefsrError where somebody edited a file since `write`: a README often is."""
    try:
        marker.require_whole(folder)
    except RefsrError as error:
        way_out = "move the file that was edited, or name another folder"
        raise RefsrError(f"{folder}: not as `push` left it; {way_out} ({error})") from error


def _require_same(folder: Path, config: Mapping[str, Any]) -> None:
    header, _, _ = read_checkpoint(folder / CHECKPOINT)
    if header == config:
        return
    differing = [key for key in {**header, **config} if header.get(key) != config.get(key)]
    raise RefsrError(
        f"{folder / CONFIG}: {', '.join(differing)} not as in the header of {CHECKPOINT}; "
        "take both from one model"
    )
