"""Parameters are refused by file, key and value."""

from pathlib import Path

import pytest

from refsr.config import SECTIONS, Curate, TrainRefsr, TrainSisr
from refsr.errors import RefsrError
from refsr.params import load_section, parse_section


def _file(folder: Path, text: str) -> Path:
    path = folder / "params.yaml"
    path.write_text(text)
    return path


def test_a_section_has_its_defaults_and_its_values(tmp_path: Path) -> None:
    section = load_section(_file(tmp_path, "curate: {hr_size: 64}\n"), "curate")
    assert isinstance(section, Curate)
    assert (section.hr_size, section.test_images.max) == (64, 4)
    assert load_section(_file(tmp_path, ""), "curate") == Curate()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "curate: {hr_sise: 64}",
            r"params.yaml: curate.hr_sise: unknown parameter; known are: .*hr_size",
        ),
        (
            "curate: {test_images: {mim: 1, max: 2}}",
            r"curate.test_images.mim: unknown parameter; known are: min, max",
        ),
        ("curate: {hr_size: 8.5}", r"curate.hr_size: .*integer.*8.5"),
        ("curate: {hr_size: 0}", r"curate.hr_size: .*greater than or equal to 1, not 0"),
        ("curate: {test_images: {min: 5, max: 2}}", r"curate.test_images: .*min 5 is above max 2"),
        (
            "train_sisr: {steps: 10, warm_start_step: 20}",
            r"warm_start_step 20 is after the last step 10",
        ),
        ("train_sisr: {learning_rate: 1e-4x}", r"train_sisr.learning_rate: .*number.*'1e-4x'"),
        (
            "train_sisr: {loss: {kind: best}}",
            r"train_sisr.loss.kind: .*'default', 'released' or 'means', not 'best'",
        ),
        (
            "train_sisr: {loss: {kl: 1}}",
            r"train_sisr.loss.kl: unknown parameter; known are: kind, perceptual",
        ),
        (
            "train_refsr: {loss: {perceptual: vgg19}}",
            r"train_refsr.loss: .*perceptual vgg19 needs vgg19_weights",
        ),
        (
            "train_refsr: {loss: {kind: released, kl_weight: 1.0}}",
            r"train_refsr.loss: .*kl_weight has no part in the loss 'released': leave it out",
        ),
        ("curare: {}", r"params.yaml: unknown section 'curare'; known are: data, synthesize"),
        ("- curate", r"a mapping with a section per stage is expected, not list"),
        ("curate: [", r"cannot be read as YAML: .*line 1"),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RefsrError, match=f"(?s){message}"):
        load_section(
            _file(tmp_path, text),
            text.split(":")[0] if text.split(":")[0] in SECTIONS else "curate",
        )


def test_a_missing_file_says_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(
        RefsrError, match=r"nowhere.yaml: no such params file; name one with --params"
    ):
        load_section(tmp_path / "nowhere.yaml", "curate")


def test_whole_floats_are_integers() -> None:
    section = parse_section("train_sisr", {"steps": 8.0, "warm_start_step": 4.0})
    assert isinstance(section, TrainSisr)
    assert section.steps == 8
    assert isinstance(section.steps, int)


def test_options_of_a_network_keep_their_types() -> None:
    options = {"attention": False, "width": 48.0, "share": 0.5, "mode": "lr"}
    section = parse_section("train_refsr", {"model": options})
    assert isinstance(section, TrainRefsr)
    assert [type(value) for value in section.model.values()] == [bool, int, float, str]
    assert section.model == options


def test_sections_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Curate().hr_size = 1  # type: ignore[misc]


def test_identities_are_all_a_list_or_a_file_of_one(tmp_path: Path) -> None:
    listed = tmp_path / "people.txt"
    listed.write_text("n000002\nn000001\n")
    assert parse_section("curate", {}).identities == "all"
    assert parse_section("curate", {"identities": str(listed)}).identities == ("n000002", "n000001")
    assert parse_section("curate", {"identities": ["n000003", "n000001"]}).identities == (
        "n000003",
        "n000001",
    )
    for wrong in ("nowhere.txt", ["a/b"], [""]):
        with pytest.raises(RefsrError, match="identities"):
            parse_section("curate", {"identities": wrong})
