"""The picture of the flow shows what dvc.yaml says."""

import shutil
from pathlib import Path
from xml.etree import ElementTree

import yaml
from compiled import ROOT

from tools.flow_diagram import PICTURE, draw, edges_of, main, read_stages

AGAIN = "run `python -m tools.flow_diagram` and commit the file"


def test_the_committed_picture_is_what_the_command_draws(tmp_path: Path) -> None:
    main(["--output", str(tmp_path / "flow.svg")])
    drawn = (tmp_path / "flow.svg").read_text()
    assert (ROOT / PICTURE).read_text() == drawn, AGAIN


def test_every_stage_and_every_output_is_in_the_picture() -> None:
    tree = ElementTree.fromstring(draw(ROOT))  # noqa: S314 - drawn by this repository
    words = [element.text for element in tree.iter() if element.text]
    for stage in read_stages(ROOT):
        assert stage.name in words
        assert ", ".join(stage.outs) in words


def test_edges_are_the_outputs_that_later_stages_read() -> None:
    stages = read_stages(ROOT)
    edges = [(stages[e.source].name, stages[e.target].name, e.path) for e in edges_of(stages)]
    assert ("synthesize", "curate", "data/rendered") in edges
    assert ("curate", "evaluate", "data/curated") in edges
    assert ("register", "evaluate") not in {edge[:2] for edge in edges}


def test_a_new_edge_is_drawn(tmp_path: Path) -> None:
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    document = yaml.safe_load((tmp_path / "dvc.yaml").read_text())
    document["stages"]["validate"]["deps"].append("data/rendered")
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    assert draw(tmp_path).count('class="edge"') == draw(ROOT).count('class="edge"') + 1
