"""Experiments of DVC: those in the documentation are accepted, and every parameter can be set."""

import itertools
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from refsr.config import SECTIONS, Register
from refsr.errors import RefsrError
from refsr.integrations.params_file import complete
from refsr.params import load_section
from refsr.steps.register import register
from refsr.tracker import NullTracker

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs/how-to" / name for name in ("sweeps.md", "train-variants.md", "extend.md")]
TEXT = "".join(page.read_text() for page in PAGES)
EXPERIMENTS = [
    line.partition(" #")[0].strip()
    for line in re.findall(r"^dvc exp run (.*)$", TEXT, re.MULTILINE)
]
PLANNED = ("residual", "gradient_weight")  # what a reader of extend.md adds first


@pytest.fixture
def params(
    tmp_path: Path,
) -> Path:
    return Path(shutil.copy(ROOT / "params.yaml", tmp_path))


def _grid(
    overrides: list[str],
) -> Iterator[list[str]]:
    """The experiments of overrides, each of which may have several values."""
    keys, values = zip(*(each.partition("=")[::2] for each in overrides), strict=True)
    for chosen in itertools.product(*(value.split(",") for value in values)):
        yield [f"{k}={v}" if v else k for k, v in zip(keys, chosen, strict=True)]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_documented_experiments_are_accepted_and_register_nothing(
    experiment: str,
    params: Path,
) -> None:
    assert experiment.endswith(" evaluate")
    overrides = re.findall(r"-S '(.*?)'", experiment)
    assert overrides
    assert not any(each.startswith("++") for each in overrides)
    if any(name in experiment for name in PLANNED):
        return
    named = {each.lstrip("+~").split(".")[0] for each in overrides}
    for setting in _grid(overrides):
        shutil.copy(ROOT / "params.yaml", params)
        apply_overrides(str(params), setting)
        changed = {
            name
            for name in SECTIONS
            if load_section(params, name) != load_section(ROOT / "params.yaml", name)
        }
        assert changed <= named
    assert changed == named


def _leaves(
    document: Mapping[str, Any],
    above: str = "",
) -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{above}{key}.")
        elif value != {}:
            yield f"{above}{key}", value


def test_every_parameter_can_be_set_in_an_experiment(
    params: Path,
) -> None:
    """params.yaml has every key, so that none needs `++`."""
    assert complete(params) == []
    assert params.read_bytes() == (ROOT / "params.yaml").read_bytes()
    leaves = dict(_leaves(yaml.safe_load(params.read_text())))
    assert {"train_refsr.loss.identity_weight", "register.gate.psnr_over_none"} < leaves.keys()
    apply_overrides(str(params), [f"{key}={json.dumps(value)}" for key, value in leaves.items()])
    for name in SECTIONS:
        assert load_section(params, name) == load_section(ROOT / "params.yaml", name)


@pytest.mark.parametrize("profile", sorted((ROOT / "params").glob("*.yaml")), ids=lambda p: p.name)
def test_a_profile_is_completed_and_keeps_its_values_and_comments(
    profile: Path,
    tmp_path: Path,
) -> None:
    path = Path(shutil.copy(profile, tmp_path / "params.yaml"))
    before = yaml.safe_load(path.read_text())
    added = complete(path)
    assert {f"{name}.seed" for name in before if name == "evaluate"} <= set(added)
    after = yaml.safe_load(path.read_text())
    assert dict(_leaves(before)).items() <= dict(_leaves(after)).items()
    assert path.read_text().count("#") == profile.read_text().count("#")
    assert complete(path) == []
    for name in before.keys() & SECTIONS.keys():
        old, new = load_section(profile, name), load_section(path, name)
        assert new.model_copy(update={"model": None}) == old.model_copy(update={"model": None})


def test_an_experiment_registers_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "calm-otter")
    paths = dict.fromkeys(("curated", "sisr", "refsr", "evaluation", "registration"), tmp_path)
    with pytest.raises(
        RefsrError, match=r"calm-otter registers no model.*`dvc exp run .* evaluate"
    ):
        register(Register(), NullTracker(), **paths)
