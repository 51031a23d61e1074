"""Whose folder holds an image, whose split, and which layout `auto` takes."""

from pathlib import Path

import pandas as pd
import pytest
from people_trees import PARAMS, packed, put_empty
from raw_trees import make_raw

from refsr.__main__ import main
from refsr.config import Curate
from refsr.curation.preview import preview
from refsr.curation.splits import draw as draw_splits
from refsr.errors import RefsrError
from refsr.layouts import people
from refsr.layouts.registry import AUTO, LAYOUTS
from refsr.layouts.tree import Tree
from refsr.params import load_data


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
    tree = Tree(put_empty(tmp_path / "raw", f"{folder}Anna B./1.webp", f"{folder}Carl/1.PNG"))
    assert tree.layout == "people"
    assert tree.images["identity"].tolist() == ["Anna B.", "Carl"]
    assert set(tree.images["root"]) == {split}
    assert (tree.strays, tree.empty, tree.metadata.has_boxes) == (0, [], False)


def test_splits_are_the_sets_own_or_drawn(tmp_path: Path) -> None:
    train = [f"train/{name}/1.jpg" for name in "abcd"]
    tree = Tree(put_empty(tmp_path / "raw", *train, "test/e/1.jpg", "test/f/1.jpg"))
    for splits in ("auto", "own"):
        order = draw_splits(tree.images, Curate(splits=splits))
        assert {key: sorted(names) for key, names in order.items()} == {
            "train": [*"abcd"],
            "validation": [],
            "test": ["e", "f"],
        }
    drawn = draw_splits(tree.images, Curate(splits="drawn", test_identities=3, train_identities=3))
    assert [len(names) for names in drawn.values()] == [3, 0, 3]
    whole = Tree(put_empty(tmp_path / "bare", "a/1.jpg", "b/1.jpg"))
    with pytest.raises(
        RefsrError, match=r"curate\.splits: own, but the raw set does not have both"
    ):
        draw_splits(whole.images, Curate(splits="own"))


def test_what_is_hidden_or_stands_in_no_persons_folder_is_passed_over(tmp_path: Path) -> None:
    raw = put_empty(
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
    raw = put_empty(tmp_path / "raw", "Anna/1.jpg", "Anna/old/2.jpg", "Carl/1.jpg")
    with pytest.raises(
        RefsrError, match=r"Anna holds images, and so do folders in it \(Anna/old\)"
    ):
        Tree(raw)


def test_one_name_in_two_places_is_refused(tmp_path: Path) -> None:
    raw = put_empty(tmp_path / "raw", "train/Anna/1.jpg", "test/Anna/1.jpg")
    with pytest.raises(
        RefsrError, match="identity Anna stands in test/Anna and in train/Anna as well"
    ):
        Tree(raw)


def test_auto_takes_vggface2_where_its_folders_are_seen(tmp_path: Path) -> None:
    raw = put_empty(
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
    raw = put_empty(tmp_path / "raw", "n000001/1.jpg", "n000002/1.jpg", "Anna/1.jpg")
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
    raw = put_empty(tmp_path / "raw", "a.jpg", "b.jpg", "notes/c.txt")
    with pytest.raises(
        RefsrError, match=r"raw: 3 files, 2 images \(a\.jpg\) among them.*; expected are"
    ) as caught:
        Tree(raw, layout)
    assert ("PERSON/photo.jpg" in str(caught.value)) == (layout != "vggface2")
    assert "\n" not in str(caught.value)


def test_the_command_line_reads_the_layout_of_the_params_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    put_empty(tmp_path / "raw", "n000001/1.jpg", "Anna/1.jpg")
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
    assert Tree(put_empty(tmp_path / "raw", "Anna/1.jpg"), "copy").layout == "copy"
