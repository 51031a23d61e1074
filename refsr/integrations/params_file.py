"""Complete a params file, since `dvc exp run -S` sets only keys that it has; and change it."""

from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any, cast

from refsr.config import TrainRefsr, TrainSisr
from refsr.io.atomic import write_file
from refsr.params import load_data, load_section, parse_section, section_names


def complete(path: Path) -> list[str]:
    """Add each parameter that a section of the file leaves out, with the value it has.

    Comments stay. Of `model`, the options of the variant are added.

    Returns:
        The names of what was added.

    Raises:
        RefsrError: The file cannot be read, or a section is invalid.
    """
    from dvc.utils.serialize import dump_yaml, parse_yaml_for_update

    values = _values(path)
    document = parse_yaml_for_update(path.read_text(encoding="utf-8"), path)
    added = [name for section in values for name in _fill(document, section, values[section], "")]
    if added:
        write_file(path, lambda partial: dump_yaml(partial, document))
    return added


def change(path: Path, section: str, values: Mapping[str, float]) -> list[str]:
    """Set parameters of a section. Comments stay.

    Returns:
        What was set, `section.key: value`.

    Raises:
        RefsrError: The file cannot be read, or a value is invalid.
    """
    from dvc.utils.serialize import dump_yaml, parse_yaml_for_update

    known = load_section(path, section).model_dump(mode="json")
    parse_section(section, {**known, **values})
    document = parse_yaml_for_update(path.read_text(encoding="utf-8"), path)
    if document.get(section) is None:
        document[section] = {}
    for key, value in values.items():
        if key in document[section]:
            document[section][key] = value
        else:
            _insert(document[section], key, value)
    if values:
        write_file(path, lambda partial: dump_yaml(partial, document))
    return [f"{section}.{key}: {value:g}" for key, value in values.items()]


def _values(path: Path) -> dict[str, Any]:
    """All parameters of the sections of a file."""
    names = sorted(section_names(path))
    sections = {name: load_section(path, name) for name in names if name != "data"}
    if "data" in names:
        sections["data"] = load_data(path)
    values = {name: section.model_dump(mode="json") for name, section in sections.items()}
    sisr, refsr = sections.get("train_sisr"), sections.get("train_refsr")
    if isinstance(sisr, TrainSisr):
        options = _options(sisr, refsr if isinstance(refsr, TrainRefsr) else TrainRefsr())
        for name in values.keys() & options.keys():
            values[name]["model"] |= options[name]
    return values


def _options(sisr: TrainSisr, refsr: TrainRefsr) -> dict[str, dict[str, Any]]:
    """The options of both networks; of RefSR those that it does not take from SISR."""
    import torch

    from refsr.models import SuperResolver, build, reference_config
    from refsr.variants import VARIANTS

    variant = VARIANTS[sisr.variant]
    config = {"model": "sisr", "variant": sisr.variant, "hr_size": 128, "scale": sisr.scale}
    with torch.device("meta"):
        single = cast(SuperResolver, build(config | sisr.model)).config
        paired = cast(SuperResolver, build(reference_config(single) | refsr.model)).config
    own = {name: paired[name] for name in variant.refsr_options if name not in single}
    return {
        "train_sisr": {name: single[name] for name in variant.sisr_options},
        "train_refsr": own | refsr.model,
    }


def _fill(document: MutableMapping[str, Any], key: str, value: Any, above: str) -> list[str]:
    """Add to `document[key]` what it lacks of `value`; returns the names."""
    name = f"{above}{key}"
    if not isinstance(value, Mapping):
        return []
    if document.get(key) is None:
        document[key] = {}
    present = document[key]
    added = []
    for inner, default in value.items():
        if inner in present:
            added += _fill(present, inner, default, f"{name}.")
        else:
            _insert(present, inner, default)
            added.append(f"{name}.{inner}")
    return added


def _insert(mapping: Any, key: str, value: Any) -> None:
    """Add a key before the last one, to which the comments below the mapping belong."""
    if mapping and hasattr(mapping, "insert"):
        mapping.insert(len(mapping) - 1, key, value)
    else:
        mapping[key] = value
