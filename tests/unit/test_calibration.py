"""Limits proposed from a raw set's own images."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pages import pictures

from refsr.__main__ import main
from refsr.config import Curate, Synthesize
from refsr.curation import calibration, calibration_limits, outliers
from refsr.curation.calibration import BLUR, Sample
from refsr.params import load_section
from refsr.synthetic.dataset import write_raw

PEOPLE, VIEWS = 9, 4
COMMENT = "# as the others do it"


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder per person and box files; two people have a face of each other."""
    raw = tmp_path_factory.mktemp("rendered") / "raw"
    params = Synthesize(
        train_identities=PEOPLE,
        test_identities=1,
        views=VIEWS,
        defects=0,
        max_size=100,
    )
    write_raw(params, raw, workers=1)
    first, second = (
        sorted(folder.iterdir())[0] for folder in sorted((raw / "train").iterdir())[:2]
    )
    swapped = first.read_bytes(), second.read_bytes()
    second.write_bytes(swapped[0])
    first.write_bytes(swapped[1])
    return raw


def test_the_command_proposes_writes_and_draws(
    rendered: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    text = f"curate:\n  hr_size: 64\n  crop_factor: 1.05\n  max_identity_distance: 2.0  {COMMENT}\n"
    Path("params.yaml").write_text(text)
    words = ["calibrate", "--raw", str(rendered), "--json", "--write", "-o", "page.html"]
    assert main(words) == 0
    document = json.loads(capsys.readouterr().out)
    faces = document["faces"]
    assert (document["people"], faces) == (PEOPLE + 1, (PEOPLE + 1) * VIEWS)
    limit = document["limits"]["max_identity_distance"]
    assert (limit["now"], limit["left_out"] * faces) == (2.0, pytest.approx(2))  # both swapped ones
    assert limit["recall"] > 0.95 and limit["lost"] <= calibration_limits.LOST
    blur = document["limits"]["min_sharpness"]
    assert blur["recall"] > 0.95 and blur["left_out"] == 0
    written = load_section(Path("params.yaml"), "curate")
    assert isinstance(written, Curate)
    assert written.max_identity_distance == limit["proposed"]
    assert written.min_sharpness == blur["proposed"]
    assert COMMENT in Path("params.yaml").read_text()
    page = Path("page.html").read_text(encoding="utf-8")
    assert pictures(page) == []
    assert f"<b>{limit['proposed']:g}</b>" in page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--most", "3"], "--most 3: 40 to 100,000 images are looked at"),
        (["--seed", "-1"], "--seed -1: 0 to 4294967295 is expected"),
        (["--write", "--params", "none.yaml"], "none.yaml: no such params file"),
        (["--raw", "nowhere"], "nowhere: cannot be read: No such file or directory"),
        (["--raw", "few"], "few: 2 people with two images in a sample of 4; 8 are needed"),
        (["-o", "few"], "few: cannot be written: it is a folder"),
    ],
)
def test_bad_input_is_one_message(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for person in ("a", "b", "c"):
        Path("few", person).mkdir(parents=True)
        for number in range(1 if person == "c" else 2):
            Path("few", person, f"{number}.jpg").write_bytes(b"")
    assert main(["calibrate", *words]) == 1
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed


def sample(wrong: float, soft: float) -> tuple[Sample, np.ndarray]:
    """500 faces with some wrong labels and soft images, and which labels are wrong."""
    rng = np.random.default_rng(0)
    people, images = 100, 5
    groups = np.repeat(np.arange(people), images)
    centres = rng.normal(0, 0.75 / np.sqrt(2 * 128), (people, 128))
    is_wrong = rng.random(len(groups)) < wrong
    shown = np.where(is_wrong, (groups + 7) % people, groups)
    embeddings = centres[shown] + rng.normal(0, 0.35 / np.sqrt(128), (len(groups), 128))
    sharp = np.where(rng.random(len(groups)) < soft, 0.1, rng.normal(0.45, 0.04, len(groups)))
    blurred = {by: np.clip(rng.normal(0.2 - 2 * by, 0.03, len(groups)), 0, 1) for by in BLUR}
    hashes = rng.integers(2**63, size=len(groups)).astype(np.uint64)
    bits = {"scaled": rng.integers(0, 6, len(groups))}
    fields = [(name, float) for name in ("w", "h", "yaw")]
    faces = np.array([(90.0, 90.0, 0.0)] * len(groups), fields)
    return Sample(
        groups, embeddings.astype(np.float32), np.zeros((len(groups), 32, 32), np.uint8),
        faces, np.zeros(len(groups), bool), np.ones(len(groups)), sharp,
        hashes, blurred, bits, len(groups), people,
    ), is_wrong  # fmt: skip


@pytest.mark.parametrize("wrong", [0.0, 0.04])
def test_a_few_per_cent_of_wrong_labels_and_soft_images_change_little(wrong: float) -> None:
    faces, is_wrong = sample(wrong, soft=wrong)
    limits = {limit.name: limit for limit in calibration_limits.propose(faces, Curate())}
    limit = limits["max_identity_distance"]
    distance = outliers.distances(faces.embeddings, faces.groups)
    several = np.bincount(faces.groups, is_wrong)[faces.groups] > 1  # their centre may be wrong
    assert (distance[~is_wrong & ~several] > limit.proposed).mean() <= 0.02
    if wrong:
        assert (distance[is_wrong] > limit.proposed).mean() >= 0.95
        assert limit.precision >= 0.8
    else:
        assert np.isnan(limit.precision) or limit.precision < 0.8
    assert 0.2 < limits["min_sharpness"].proposed < 0.4
    assert limits["max_duplicate_bits"].proposed == Curate().max_duplicate_bits  # no copy is lost


def test_the_draw_is_bounded_and_the_same_again() -> None:
    names = [f"p{number:02d}" for number in range(40) for _ in range(1 + number)]
    images = pd.DataFrame({"identity": pd.Categorical(names), "file": range(len(names))})
    drawn = calibration.drawn(images, Curate(), 100, seed=1)
    sizes = drawn["identity"].astype(str).value_counts()
    assert 100 <= len(drawn) < 100 + calibration.MOST_VIEWS
    assert sizes.between(2, calibration.MOST_VIEWS).all()
    assert drawn.equals(calibration.drawn(images, Curate(), 100, seed=1))
    assert not drawn.equals(calibration.drawn(images, Curate(), 100, seed=2))
    only = calibration.drawn(images, Curate(identities=("p05", "p06")), 100, seed=1)
    assert set(only["identity"]) == {"p05", "p06"}
