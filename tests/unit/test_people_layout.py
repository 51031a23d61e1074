"""A folder per person: any name, in folders and archives, with and without splits; and what `auto` makes of a set."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from people_trees import DETECTOR, NAMES, PARAMS, make_people, packed
from raw_trees import draw, embed_colour, make_raw

from refsr.__main__ import main
from refsr.config import Curate, Synthesize, Validate
from refsr.curation.curated_writer import write_curated, write_part
from refsr.curation.extraction import crops_file
from refsr.curation.partition import Share
from refsr.curation.preview import preview
from refsr.curation.splits import draw as draw_splits
from refsr.dataset.curated import Curated
from refsr.errors import RefsrError
from refsr.integrations.expectations import suites
from refsr.io.sources import open_source
from refsr.layouts import people
from refsr.layouts.registry import AUTO, LAYOUTS, needed
from refsr.layouts.tree import Tree
from refsr.params import load_data, parse_section
from refsr.reporting import inspection
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


def put(raw: Path, *names: str) -> Path:
    for name in names:
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        (raw / name).write_bytes(b"")
    return raw


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
    """Names that differ in case alone, or are as long as a file's name can be, share no file of crops."""
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


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("", ""),
        ("dataset/", ""),
        ("train/", "train"),
        ("Test/", "test"),
        ("photos_test/", "test"),
        ("dataset/train/", "train"),
        ("dataset/train/office/", "train"),
        ("contest/", ""),
        ("train2/", ""),
    ],
)
def test_a_person_is_the_folder_of_the_images_at_any_depth(
    tmp_path: Path, folder: str, split: str
) -> None:
    tree = Tree(put(tmp_path / "raw", f"{folder}Anna B./1.webp", f"{folder}Carl/1.PNG"))
    assert tree.layout == "people"
    assert tree.images["identity"].tolist() == ["Anna B.", "Carl"]
    assert set(tree.images["root"]) == {split}
    assert (tree.strays, tree.empty, tree.metadata.has_boxes) == (0, [], False)


def test_splits_are_the_sets_own_or_drawn(tmp_path: Path) -> None:
    train = [f"train/{name}/1.jpg" for name in "abcd"]
    tree = Tree(put(tmp_path / "raw", *train, "test/e/1.jpg", "test/f/1.jpg"))
    for splits in ("auto", "own"):
        order = draw_splits(tree.images, Curate(splits=splits))
        assert {key: sorted(names) for key, names in order.items()} == {
            "train": [*"abcd"],
            "test": ["e", "f"],
        }
    drawn = draw_splits(tree.images, Curate(splits="drawn", test_identities=3, train_identities=3))
    assert [len(names) for names in drawn.values()] == [3, 3]
    whole = Tree(put(tmp_path / "bare", "a/1.jpg", "b/1.jpg"))
    with pytest.raises(RefsrError, match=r"curate\.splits: own, but the raw set has not both"):
        draw_splits(whole.images, Curate(splits="own"))


def test_what_is_hidden_or_stands_in_no_persons_folder_is_passed_over(tmp_path: Path) -> None:
    raw = put(
        tmp_path / "raw",
        "photos/Anna/1.jpg",
        "photos/Anna/._1.jpg",
        "photos/Anna/Thumbs.db",
        "photos/Anna/video.mp4",
        "photos/Carl/1.jpg",
        "__MACOSX/photos/Anna/1.jpg",
        "photos/@eaDir/Anna/1.jpg",
        "cover.jpg",
        "photos/all of us.jpg",
        "README.txt",
    )
    for source in (raw, packed(raw, ".tar.gz")):
        tree = Tree(source)
        names = tree.with_names(tree.images)["source"]
        assert [name.removeprefix("raw/") for name in names] == [
            "photos/Anna/1.jpg",
            "photos/Carl/1.jpg",
        ]
        assert tree.strays == 2
    shown = preview(PARAMS, str(raw))
    assert (shown["layout"], shown["images"], shown["in no identity's folder"]) == ("people", 2, 2)


def test_images_in_a_person_and_in_folders_of_the_person_are_refused(tmp_path: Path) -> None:
    raw = put(tmp_path / "raw", "Anna/1.jpg", "Anna/old/2.jpg", "Carl/1.jpg")
    with pytest.raises(
        RefsrError, match=r"Anna holds images, and so do folders in it \(Anna/old\)"
    ):
        Tree(raw)


def test_one_name_in_two_places_is_refused(tmp_path: Path) -> None:
    raw = put(tmp_path / "raw", "train/Anna/1.jpg", "test/Anna/1.jpg")
    with pytest.raises(
        RefsrError, match="identity Anna stands in test/Anna and in train/Anna as well"
    ):
        Tree(raw)


def test_auto_takes_vggface2_where_its_folders_are_seen(tmp_path: Path) -> None:
    raw = put(
        make_raw(tmp_path / "raw", train=2, test=1, views=2),
        "cover.jpg",
        "train/n000001/sub/crop.jpg",
    )
    (tree, packed_tree) = (Tree(source) for source in (raw, packed(raw, ".tar")))
    assert (tree.layout, packed_tree.layout) == ("vggface2", "vggface2")
    assert len(tree.images) == len(packed_tree.images) == 6
    by_name = Tree(raw, "vggface2")
    pd.testing.assert_frame_equal(tree.images, by_name.images)
    assert len(tree.metadata.boxes()) == 6


def test_a_mixed_set_is_refused_by_what_was_seen_and_read_by_a_name(tmp_path: Path) -> None:
    raw = put(tmp_path / "raw", "n000001/1.jpg", "n000002/1.jpg", "Anna/1.jpg")
    with pytest.raises(
        RefsrError,
        match=r"2 folders \(n000001, n000002\) are of the layout vggface2.* 1 folders \(Anna",
    ):
        Tree(raw)
    assert len(Tree(raw, "vggface2").images) == 2
    assert len(Tree(raw, "people").images) == 3


@pytest.mark.parametrize("layout", [AUTO, *LAYOUTS])
def test_an_empty_set_is_refused_by_what_was_seen_and_what_is_expected(
    tmp_path: Path, layout: str
) -> None:
    raw = put(tmp_path / "raw", "a.jpg", "b.jpg", "notes/c.txt")
    with pytest.raises(
        RefsrError, match=r"raw: 3 files, 2 images \(a\.jpg\) among them.*; expected are"
    ) as caught:
        Tree(raw, layout)
    assert ("PERSON/photo.jpg" in str(caught.value)) == (layout != "vggface2")
    assert "\n" not in str(caught.value)


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


def test_the_command_line_reads_the_layout_of_the_params_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "raw", "n000001/1.jpg", "Anna/1.jpg")
    params = tmp_path / "params.yaml"
    params.write_text("data: {raw: raw}\n")
    assert load_data(params).layout == AUTO
    command = ["curate", "--curated", "curated", "--dry-run"]
    assert main(command) == 1
    assert "set data.layout to vggface2" in capsys.readouterr().err
    params.write_text("data: {raw: raw, layout: people}\n")
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["layout", "people"]
    assert main([*command, "--layout", "vggface2"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["layout", "vggface2"]
    params.write_text("data: {raw: raw, layout: nonsense}\n")
    assert main(command) == 1
    assert (
        "data.layout: 'nonsense' is no layout; known are: auto, vggface2, people"
        in capsys.readouterr().err
    )


def test_a_new_layout_is_one_line_and_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`data.layout` takes whatever LAYOUTS names."""
    monkeypatch.setitem(LAYOUTS, "copy", people)
    assert Tree(put(tmp_path / "raw", "Anna/1.jpg"), "copy").layout == "copy"


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
