"""A folder per person: any name, in folders and archives, with and without splits."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from people_trees import DETECTOR, NAMES, PARAMS, make_people, packed
from raw_trees import draw, embed_colour, make_raw

from refsr.config import Curate, Synthesize, Validate
from refsr.curation.curated_writer import write_curated, write_part
from refsr.curation.extraction import crops_file
from refsr.dataset.curated import Curated
from refsr.errors import RefsrError
from refsr.integrations.expectations import suites
from refsr.io.sources import open_source
from refsr.layouts.registry import AUTO, needed
from refsr.params import parse_section
from refsr.reporting import inspection
from refsr.share import Share
from refsr.steps.curate import curate
from refsr.steps.synthesize import synthesize
from refsr.steps.validate import validate
from refsr.tracker import NullTracker


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_people(tmp_path_factory.mktemp("people") / "raw")


@pytest.fixture(scope="module")
def curated(raw: Path) -> Path:
    folder = raw.parent / "curated"
    write_curated(PARAMS, raw, folder, embed_colour, 1, detector=DETECTOR)
    return folder


def tables(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_identities_keep_the_names_of_their_folders(curated: Path) -> None:
    manifest = Curated(curated).table
    assert set(manifest["identity"]) == set(NAMES)
    assert set(manifest["sex"]) == {"?"}
    assert set(manifest["split"]) == {"train", "test"}
    assert [Path(source).parent.name for source in manifest["source"]] == manifest[
        "identity"
    ].tolist()
    assert json.loads((curated / "summary.json").read_text())["layout"] == "people"


def test_pixels_are_those_of_the_person_whatever_the_name(curated: Path, raw: Path) -> None:
    """Names that differ in case alone, or are as long as a file's name can be,
    share no file of crops.
    """
    opened = Curated(curated)
    alone = {}
    for number, name in enumerate(NAMES, 1):
        rows = np.flatnonzero(opened.table["identity"] == name)
        alone[name] = opened.pixels(rows)[:, 8:24, 8:24].reshape(-1, 3).astype(float)
        drawn = draw(number, 1)[60 - 8 : 60 + 8, 60 - 8 : 60 + 8, ::-1].reshape(-1, 3)
        assert np.abs(np.median(alone[name], axis=0) - np.median(drawn, axis=0)).max() < 40, name


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_an_archive_gives_the_bytes_of_the_folder(
    raw: Path, curated: Path, suffix: str, tmp_path: Path
) -> None:
    archive = packed(raw, suffix)
    write_curated(
        PARAMS, archive, tmp_path / "curated", embed_colour, 1, detector=DETECTOR, layout="people"
    )
    assert tables(tmp_path / "curated") == tables(curated)


@pytest.mark.parametrize("layout", [AUTO, "people"])
def test_parts_of_an_archive_are_joined_to_the_bytes_of_the_whole(
    raw: Path, curated: Path, layout: str, tmp_path: Path
) -> None:
    archive = packed(raw, ".tar.gz")
    parts = [tmp_path / f"part-{number}" for number in (1, 2)]
    for number, part in enumerate(parts, 1):
        share = Share(number, 2)
        write_part(PARAMS, archive, part, embed_colour, 1, share, DETECTOR, layout)
    merged = tmp_path / "merged"
    write_curated(PARAMS, archive, merged, embed_colour, 1, parts, DETECTOR, layout=layout)
    assert tables(merged) == tables(curated)
    with pytest.raises(
        RefsrError, match=r"read by data\.layout people, not vggface2|no images|none in the folder"
    ):
        write_curated(PARAMS, archive, merged, embed_colour, 1, parts, DETECTOR, layout="vggface2")


def test_a_part_read_by_another_layout_is_refused(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw", train=3, test=2, views=3)
    write_part(PARAMS, raw, tmp_path / "part", embed_colour, 1, Share(1, 2), DETECTOR, "vggface2")
    with pytest.raises(RefsrError, match=r"part: read by data\.layout vggface2, not people"):
        write_curated(
            PARAMS,
            raw,
            tmp_path / "whole",
            embed_colour,
            1,
            [tmp_path / "part"],
            DETECTOR,
            layout="people",
        )


def test_names_of_work_files_are_plain_short_and_apart_where_case_does_not_count(
    tmp_path: Path,
) -> None:
    names = [*NAMES, *(name.upper() for name in NAMES)]
    files = [crops_file(tmp_path, name).name for name in set(names)]
    assert len({name.lower() for name in files}) == len(set(names))
    assert all(len(name.encode()) < 120 and name.isascii() for name in files)
    assert crops_file(tmp_path, "n000001").name == "n000001.crops"


def test_of_a_packed_set_only_the_persons_asked_for_are_unpacked(raw: Path, tmp_path: Path) -> None:
    source = open_source(
        packed(raw, ".tar.gz"), tmp_path, needed(AUTO, lambda identity: identity == "Anna")
    )
    kept = source.files.loc[source.files["place"] != "", "name"]
    assert sorted(kept) == [
        f"Anna/photo {view}.{suffix}" for view, suffix in ((1, "JPEG"), (2, "jpg"), (3, "jpg"))
    ]


def test_persons_are_listed_by_their_names(raw: Path, tmp_path: Path) -> None:
    listed = tmp_path / "people.txt"
    listed.write_text("Zoë Müller\n山田太郎\n  Anna  \nn000001 n000002\n", encoding="utf-8")
    section = parse_section("curate", {"identities": str(listed)})
    assert isinstance(section, Curate)
    assert section.identities == ("Zoë Müller", "山田太郎", "Anna", "n000001", "n000002")
    some = PARAMS.model_copy(
        update={"identities": ("Zoë Müller", "山田太郎", "Anna"), "test_identities": 1}
    )
    write_curated(some, raw, tmp_path / "curated", embed_colour, 1, detector=DETECTOR)
    assert set(Curated(tmp_path / "curated").table["identity"]) == {
        "Zoë Müller",
        "山田太郎",
        "Anna",
    }
    with pytest.raises(RefsrError, match="has a slash"):
        parse_section("curate", {"identities": ["a/b"]})


def test_the_page_shows_names_and_what_was_left_out(curated: Path, raw: Path) -> None:
    for source in (raw, packed(raw, ".tar.gz")):
        page = inspection.inspect(Curated(curated), source)
        assert "<b>Zoë Müller</b>" in page
        assert "a &amp; b &lt;i&gt;" in page
        assert "<i>" not in page.replace("&lt;i&gt;", "")
        assert "Layout: people." in page


def test_what_must_hold_of_a_curated_set_holds_for_names(curated: Path) -> None:
    (rule,) = (
        each
        for each in suites(Validate())["images"]
        if each.expectation_type == "expect_column_values_to_match_regex"
        and each.column == "identity"
    )
    assert Curated(curated).table["identity"].str.fullmatch(rule.regex[1:-1]).all()


def test_rendered_faces_without_names_of_vggface2_or_metadata_are_curated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the real detector and identity network, as a user's own photos are."""
    monkeypatch.setattr("refsr.steps.curate.usable_cores", lambda: 1)
    raw = tmp_path / "raw"
    params = Synthesize(
        train_identities=2, test_identities=2, views=3, min_size=96, max_size=128, defects=0
    )
    synthesize(params, NullTracker(), raw=raw)
    for path in [*raw.rglob("*.csv")]:
        path.unlink()
    for number, folder in enumerate(sorted(raw.glob("t*/n*"))):
        folder.rename(folder.with_name(f"Person No. {number}"))
    shutil.rmtree(raw / "bb_landmark")
    metrics = curate(Curate(hr_size=32), NullTracker(), raw=str(raw), curated=tmp_path / "curated")
    assert (metrics["identities.train"], metrics["identities.test"]) == (2, 2)
    validate(
        Validate(), NullTracker(), curated=tmp_path / "curated", validation=tmp_path / "validation"
    )
    assert set(Curated(tmp_path / "curated").table["identity"]) == {
        f"Person No. {number}" for number in range(4)
    }
