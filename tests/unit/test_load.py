"""`refsr.load`: by file, by folder, from the registry; images in and out, and what is refused."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import refsr
from refsr.__main__ import main
from refsr.errors import RefsrError
from refsr.inference.upscaler import upscale
from refsr.models.checkpoint import load_model, save_model
from refsr.models.compact import CompactRefsr, CompactSisr
from refsr.models.upscaling import reduced

README = Path(__file__).parents[2] / "README.md"
PHOTO = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
REFERENCES = [
    np.random.default_rng(seed).integers(0, 256, (40, 32, 3), dtype=np.uint8) for seed in (1, 2)
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a training leaves, as far as `load` reads it."""
    network = CompactRefsr(hr_size=32, scale=4, width=16, blocks=1)
    for name, parameter in network.named_parameters():
        if "gate" in name or not parameter.any():
            nn.init.constant_(parameter, 0.1)  # else references change nothing yet
    save_model(tmp_path / "model.safetensors", network)
    return tmp_path


def test_a_file_and_its_folder_give_the_same_as_the_command(
    folder: Path,
) -> None:
    file = folder / "model.safetensors"
    network = load_model(file)
    for source in (file, str(file), folder):
        model = refsr.load(source)
        assert (
            model.lr_size,
            model.hr_size,
            model.uses_reference,
        ) == (8, 32, True)
        result = model.upscale(PHOTO, REFERENCES[0])
        assert (result.shape, result.dtype) == (
            (32, 24, 3),
            np.uint8,
        )
        assert np.array_equal(result, upscale(network, PHOTO, REFERENCES[0]))
        assert np.array_equal(model.upscale(PHOTO), upscale(network, PHOTO))


def test_references_are_used_one_and_all(
    folder: Path,
) -> None:
    model = refsr.load(folder)
    first, second = (model.upscale(PHOTO, each) for each in REFERENCES)
    both = model.upscale(PHOTO, *REFERENCES)
    results = [model.upscale(PHOTO), first, second, both]
    assert len({result.tobytes() for result in results}) == 4


def test_the_example_of_the_readme(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = re.search(
        r"^```python$(.*?)^```$",
        README.read_text(),
        re.MULTILINE | re.DOTALL,
    )
    assert example
    monkeypatch.chdir(folder)
    (folder / "models/refsr").mkdir(parents=True)
    (folder / "model.safetensors").rename(folder / "models/refsr/model.safetensors")
    Image.fromarray(PHOTO).save("small.png")
    Image.fromarray(REFERENCES[0]).save("portrait.png")
    exec(example[1], {})  # noqa: S102
    with Image.open("large.png") as large:
        assert large.size == (24, 32)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (PHOTO / 255, "dtype uint8 .* not float64"),
        (
            PHOTO[..., 0],
            r"shape \(H, W, 3\), RGB, .* not \(8, 6\)",
        ),
        (PHOTO[None], r"not \(1, 8, 6, 3\)"),
        (PHOTO[:0], r"not \(0, 6, 3\)"),
        (
            np.dstack([PHOTO, PHOTO[..., :1]]),
            r"not \(8, 6, 4\)",
        ),
        (PHOTO.tolist(), "an array .* not list"),
        (None, "not NoneType"),
    ],
)
def test_another_shape_or_dtype_is_refused_by_name(
    image: np.ndarray,
    message: str,
    folder: Path,
) -> None:
    model = refsr.load(folder)
    with pytest.raises(RefsrError, match=f"^photo( 1)?: .*{message}"):
        model.upscale(image, REFERENCES[0])
    with pytest.raises(RefsrError, match=f"^reference 2: .*{message}"):
        model.upscale(PHOTO, REFERENCES[0], image)


def test_a_single_image_model_takes_no_reference(
    tmp_path: Path,
) -> None:
    save_model(
        tmp_path / "model.safetensors",
        CompactSisr(hr_size=32, scale=4, width=16, blocks=1),
    )
    model = refsr.load(tmp_path)
    assert model.upscale(PHOTO).shape == (32, 24, 3)
    with pytest.raises(RefsrError, match="single-image model"):
        model.upscale(PHOTO, REFERENCES[0])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere", "nowhere: no such checkpoint"),
        ("", "is empty"),
        ("models:/refsr", "write models:/NAME@ALIAS"),
        ("models:/refsr@champion", "no model registry here"),
    ],
)
def test_what_cannot_be_loaded_is_one_message(
    source: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(RefsrError, match=message):
        refsr.load(source)
    with pytest.raises(
        RefsrError,
        match="device 'tpu': choose one of cpu, cuda, auto",
    ):
        refsr.load(source, device="tpu")


def test_options_change_the_result_as_they_say(
    folder: Path,
) -> None:
    model, network = (
        refsr.load(folder),
        load_model(folder / "model.safetensors"),
    )
    own = model.upscale(PHOTO, *REFERENCES)
    assert np.array_equal(own, model.upscale(PHOTO, REFERENCES))
    assert np.array_equal(
        own,
        model.upscale(PHOTO, REFERENCES, temperature=0, seed=9),
    )
    plain = model.upscale(PHOTO, REFERENCES, sharpness=0)
    half = model.upscale(PHOTO, REFERENCES, sharpness=0.5)
    between = (plain.astype(float) + own) / 2
    assert np.abs(half - between).max() <= 1 and not np.array_equal(plain, own)
    state = torch.get_rng_state()
    samples = [model.upscale(PHOTO, REFERENCES, temperature=1, seed=seed) for seed in (1, 2, 1)]
    assert np.array_equal(samples[0], samples[2]) and torch.equal(state, torch.get_rng_state())
    assert not np.array_equal(samples[0], samples[1])
    assert network.draws_samples  # type: ignore[attr-defined]


def test_fidelity_holds_the_result_to_the_photo(folder: Path, tmp_path: Path) -> None:
    square = np.random.default_rng(3).integers(96, 160, (8, 8, 3), dtype=np.uint8)
    exported = tmp_path / "model.onnx"
    assert (
        main(
            [
                "export",
                "--model",
                str(folder),
                "--onnx",
                str(exported),
            ]
        )
        == 0
    )
    errors = {}
    for fidelity in (0.0, 0.5, 1.0):
        large = refsr.load(folder).upscale(square, REFERENCES, fidelity=fidelity)
        image = torch.from_numpy(large).permute(2, 0, 1)[None].float()
        small = reduced(image, (8, 8))[0].permute(1, 2, 0).numpy()
        errors[fidelity] = np.abs(small - square).max()
        other = refsr.load(exported).upscale(square, REFERENCES, fidelity=fidelity)
        assert np.abs(other.astype(int) - large).max() <= 1
    assert errors[1.0] < 1 < errors[0.5] < errors[0.0]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            {"temperature": -1},
            "temperature -1: a number from 0 to 2",
        ),
        ({"temperature": float("nan")}, "temperature nan"),
        (
            {"fidelity": 1.5},
            "fidelity 1.5: a number from 0 to 1",
        ),
        ({"sharpness": "much"}, "sharpness 'much'"),
        ({"seed": -3}, "seed -3: a whole number"),
        ({"seed": 0.5}, "seed 0.5: a whole number"),
        (
            {"device": "tpu"},
            "device 'tpu': choose one of cpu, cuda, auto",
        ),
    ],
)
def test_an_option_out_of_range_is_refused_by_name(
    option: dict[str, Any],
    message: str,
    folder: Path,
) -> None:
    model = refsr.load(folder)
    with pytest.raises(RefsrError, match=re.escape(message)):
        model.upscale(PHOTO, **option)
    if "device" not in option:
        with pytest.raises(RefsrError, match=re.escape(message)):
            model.upscale_photo(PHOTO, crop=True, **option)


def test_a_photo_takes_the_same_options(folder: Path) -> None:
    model = refsr.load(folder)
    photos = [
        model.upscale_photo(PHOTO, REFERENCES, crop=True, **option).image
        for option in (
            {},
            {"fidelity": 0.2},
            {"temperature": 1},
            {"temperature": 1, "seed": 4},
        )
    ]
    assert len({photo.tobytes() for photo in photos}) == 4
