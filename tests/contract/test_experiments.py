"""The experiments the how-to page tells a reader to run change the parameters as DVC would,
and are accepted.
"""

import re
import shutil
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

from refsr.config import SECTIONS
from refsr.params import load_section

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/train-variants.md").read_text()
EXPERIMENTS = re.findall(r"^dvc exp run (.*?)(?:#|$)", PAGE, re.MULTILINE)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_documented_experiments_are_accepted(
    experiment: str,
    tmp_path: Path,
) -> None:
    params = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", params)
    overrides = re.findall(r"-S '(.*?)'", experiment)
    assert overrides
    apply_overrides(str(params), overrides)
    changed = [
        name
        for name in SECTIONS
        if load_section(params, name) != load_section(ROOT / "params.yaml", name)
    ]
    assert changed == sorted(
        {override.removeprefix("++").split(".")[0] for override in overrides}
    ), changed
