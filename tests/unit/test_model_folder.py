"""`refsr push` and `pull`: a model as Hugging Face's hub has it, and back."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from evaluations import evaluation
from safetensors.torch import load_file, save_file

import refsr
from refsr.__main__ import main
from refsr.io import marker
from refsr.models.checkpoint import load_model, save_model
from refsr.models.compact import CompactRefsr

PHOTO = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)


@pytest.fixture
def pushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pushed folder, beside the checkpoint and the evaluation that it is of."""
    monkeypatch.chdir(tmp_path)
    network = CompactRefsr(hr_size=32, scale=4, width=16, blocks=1)
    save_model(tmp_path / "model.safetensors", network, {"step": 7})
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation/metrics.json").write_text(json.dumps(evaluation()))
    assert _push("--license", "cc-by-nc-4.0", "--evaluation", "evaluation") == 0
    return tmp_path / "pushed"


def _push(*options: str) -> int:
    return main(["push", "pushed", "--model", "model.safetensors", *options])


def _front(folder: Path) -> dict[str, Any]:
    _, front, _ = (folder / "README.md").read_text().split("---\n", 2)
    document: dict[str, Any] = yaml.safe_load(front)
    return document


def test_a_folder_has_the_form_of_the_hub(pushed: Path) -> None:
    assert sorted(path.name for path in pushed.iterdir()) == [
        marker.MARKER,
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    front = _front(pushed)
    keys = ("library_name", "pipeline_tag", "license")
    assert [front[key] for key in keys] == ["refsr", "image-to-image", "cc-by-nc-4.0"]
    (model,) = front["model-index"]
    (result,) = model["results"]
    values = {each["type"]: each["value"] for each in result["metrics"]}
    assert values == {
        "psnr": 26.0,
        "ssim": 0.7,
        "identity": 0.8,
        "perceptual": 0.4,
    }
    config = json.loads((pushed / "config.json").read_text())
    assert config["library_name"] == "refsr"
    assert (config["variant"], config["hr_size"], config["align"]) == ("compact", 32, True)
    copied, checkpoint = pushed / "model.safetensors", pushed.parent / "model.safetensors"
    assert copied.read_bytes() == checkpoint.read_bytes()


def test_a_folder_is_loaded_as_it_is_and_pulled(pushed: Path) -> None:
    expected = refsr.load(pushed.parent / "model.safetensors").upscale(PHOTO, PHOTO)
    assert main(["pull", "pushed", "-o", "pulled"]) == 0
    for folder in (pushed, pushed.parent / "pulled"):
        assert np.array_equal(refsr.load(folder).upscale(PHOTO, PHOTO), expected)
    assert marker.is_own(pushed.parent / "pulled", "pull")


def test_weights_that_another_program_saved_get_their_header_back(pushed: Path) -> None:
    """Such as those of a fine-tuning, whose author keeps config.json."""
    weights = pushed / "model.safetensors"
    tensors = load_file(weights)
    save_file(tensors, weights, metadata={"format": "pt"})
    (pushed / marker.MARKER).unlink()
    assert main(["pull", "pushed", "-o", "pulled"]) == 0
    network = load_model(pushed.parent / "pulled/model.safetensors")
    assert all((network.state_dict()[name] == tensor).all() for name, tensor in tensors.items())


def test_without_statements_nothing_is_stated(pushed: Path) -> None:
    assert _push() == 0
    front = _front(pushed)
    assert front["license"] == "other"
    assert "model-index" not in front


def _another_width(folder: Path) -> None:
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"width": 16', '"width": 32'))


DAMAGE = {
    "no config": (lambda folder: (folder / "config.json").unlink(), "config.json: no such file"),
    "no JSON": (lambda folder: (folder / "config.json").write_text("["), "config.json: missing or"),
    "another network": (_another_width, "config.json: width not as in the header"),
    "cut weights": (
        lambda folder: (folder / "model.safetensors").write_bytes(b"\0" * 99),
        "model.safetensors: missing or damaged",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE)
def test_a_folder_that_cannot_be_is_one_message(
    damage: Any, message: str, pushed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(pushed)
    (pushed / marker.MARKER).unlink()
    assert main(["pull", "pushed", "-o", "pulled"]) == 1
    assert message in capsys.readouterr().err
    assert not (pushed.parent / "pulled").exists()


def test_what_a_user_wrote_stays(pushed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    readme = pushed / "README.md"
    readme.write_text("mine")
    assert _push() == 1
    assert "README.md" in capsys.readouterr().err
    assert readme.read_text() == "mine"
    (pushed.parent / "evaluation/metrics.json").write_text('{"psnr": {"ref_right": 1}}')
    for options, message in (
        (["--license", "no id"], "--license 'no id': name one of"),
        (["--evaluation", "nowhere"], "metrics.json: missing or damaged"),
        (["--evaluation", "evaluation"], "the metrics of the evaluation are damaged"),
    ):
        assert main(["push", "other", "--model", "model.safetensors", *options]) == 1
        assert message in capsys.readouterr().err
    assert not list(pushed.parent.glob("other*"))
