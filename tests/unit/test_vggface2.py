"""The layouts and metadata of VGGFace2: every quirk is read,
and what cannot be read is named by file and line.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_trees import make_raw, person, put

from refsr.errors import RefsrError
from refsr.layouts import vggface2_csv
from refsr.layouts.base import BOX, LANDMARKS
from refsr.layouts.tree import Tree

HEADER = "NAME_ID,X,Y,W,H\n"


def write(folder: Path, text: str | bytes, name: str = "loose_bb_train.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read_numbers(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    return vggface2_csv.read_numbers(path.open("rb"), str(path), columns)


def read_sexes(path: Path) -> dict[str, str]:
    return vggface2_csv.read_sexes(path.open("rb"), str(path))


@pytest.mark.parametrize(
    ("folders", "roots"),
    [
        (("train", "test"), {"train", "test"}),
        (("vggface2/train", "vggface2/test"), {"train", "test"}),
        (("vggface2_train/train", "vggface2_test/test"), {"train", "test"}),
        (("vggface2_train", "vggface2_test"), {"train", "test"}),
        (("train", "train"), {"train"}),
        (("", ""), {""}),
    ],
)
def test_each_root_layout_is_recognised(
    tmp_path: Path, folders: tuple[str, str], roots: set[str]
) -> None:
    for number, folder in enumerate(folders, 2):
        (tmp_path / folder / person(number)).mkdir(parents=True)
        (tmp_path / folder / person(number) / "0001_01.jpg").write_bytes(b"")
    tree = Tree(tmp_path)
    images = tree.with_names(tree.images)
    assert list(images["identity"]) == ["n000002", "n000003"]
    assert set(images["root"]) == roots
    assert [str((tmp_path / source).parent.name) for source in images["source"]] == list(
        images["identity"]
    )


def test_files_that_are_not_images_are_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / person(2)
    folder.mkdir()
    for name in ("0001_01.jpg", "0002_01.JPEG", "._0001_01.jpg", "Thumbs.db", "notes.txt"):
        (folder / name).write_bytes(b"")
    tree = Tree(tmp_path)
    assert list(tree.with_names(tree.images)["source"]) == [
        "n000002/0001_01.jpg",
        "n000002/0002_01.JPEG",
    ]


def test_a_folder_without_identities_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    with pytest.raises(RefsrError, match=r"0 files.* expected are identity folders \(nXXXXXX\)"):
        Tree(tmp_path, "vggface2")


def test_an_identity_in_two_splits_is_refused(tmp_path: Path) -> None:
    for split in ("train", "test"):
        put(tmp_path, split, 2, "0001_01", b"")
    with pytest.raises(RefsrError, match="n000002 stands in"):
        Tree(tmp_path)


def test_an_empty_identity_folder_is_known_but_has_no_images(tmp_path: Path) -> None:
    (make_raw(tmp_path) / "train" / person(900)).mkdir()
    tree = Tree(tmp_path)
    assert person(900) in tree.identities
    assert tree.empty == [person(900)]
    assert person(900) not in set(tree.images["identity"])


def test_metadata_is_read_beside_and_above_the_identities(tmp_path: Path) -> None:
    make_raw(tmp_path / "vggface2")
    tree = Tree(tmp_path)
    assert len(tree.metadata.boxes()) == len(tree.metadata.landmarks()) == len(tree.images)
    assert tree.metadata.sexes() == {}


def test_neither_boxes_nor_landmarks_are_needed(tmp_path: Path) -> None:
    make_raw(tmp_path)
    for split in ("train", "test"):
        (tmp_path / "bb_landmark" / f"loose_landmark_{split}.csv").unlink()
    assert list(Tree(tmp_path).metadata.landmarks().columns) == list(LANDMARKS)
    assert len(Tree(tmp_path).metadata.landmarks()) == 0
    for split in ("train", "test"):
        (tmp_path / "bb_landmark" / f"loose_bb_{split}.csv").unlink()
    assert not Tree(tmp_path).metadata.has_boxes
    assert len(Tree(tmp_path).metadata.boxes()) == 0


def test_a_metadata_file_without_rows_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_raw(tmp_path)
    for text in ("", "NAME_ID,X,Y,W,H\n"):
        caplog.clear()
        (tmp_path / "bb_landmark" / "loose_bb_train.csv").write_text(text)
        assert len(Tree(tmp_path).metadata.boxes([person(1)])) == 0
        assert "loose_bb_train.csv: holds no row" in caplog.text


def test_boxes_are_read_with_their_quirks(tmp_path: Path) -> None:
    text = (
        "\ufeff"
        + HEADER
        + '"n000001/0001_01",60,60,79,109\r\n\n n000001/0002_01.jpg, -3.5 ,0,1e2,9,\r\n'
    )
    boxes = read_numbers(write(tmp_path, text), BOX)
    assert boxes.loc["n000001/0001_01"].tolist() == [60, 60, 79, 109]
    assert boxes.loc["n000001/0002_01"].tolist() == [-3.5, 0, 100, 9]


def test_of_some_identities_boxes_are_those_of_all_wherever_their_lines_stand(
    tmp_path: Path,
) -> None:
    make_raw(tmp_path, train=4, test=2, views=3)
    path = tmp_path / "bb_landmark" / "loose_bb_train.csv"
    header, *lines = path.read_text().splitlines(keepends=True)
    path.write_text(header + "\n" + "".join(lines[::-2] + lines[::-1][1::2]))
    tree = Tree(tmp_path)
    some = tree.metadata.boxes([person(2), person(4), person(5), person(99)])
    whole = tree.metadata.boxes()
    assert len(some) == 9
    pd.testing.assert_frame_equal(
        some, whole[whole.index.str[:7].isin([person(2), person(4), person(5)])]
    )


@pytest.mark.parametrize("apart", [0, 1])
def test_an_image_listed_twice_is_named_where_some_are_read(tmp_path: Path, apart: int) -> None:
    make_raw(tmp_path, train=2, test=1, views=2)
    path = tmp_path / "bb_landmark" / "loose_bb_train.csv"
    lines = path.read_text().splitlines(keepends=True)
    lines.insert(3 + apart, lines[1])
    path.write_text("".join(lines))
    with pytest.raises(
        RefsrError, match=rf"loose_bb_train\.csv:{4 + apart}: .* stands in line 2 already"
    ):
        Tree(tmp_path).metadata.boxes([person(1)])


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('"n000001/0001_01",60,60,79', "and 4 numbers"),
        ('"n000001/0001_01",60,60,79,109,3', "and 4 numbers"),
        ('"n000001/0001_01",60,sixty,79,109', "sixty"),
        ('"n000001/0001_01",60,nan,79,109', "nan"),
        ('"0001_01",60,60,79,109', "0001_01"),
        ("\x00\x00\x00", "and 4 numbers"),
        ('"n000009/0001_01",1,1,9,9', "stands in line 2 already"),
        (b"\xff\xfe,1,2,3,4", "not UTF-8"),
    ],
)
def test_a_bad_line_is_named_by_file_and_number(
    tmp_path: Path, line: str | bytes, fault: str
) -> None:
    raw = line if isinstance(line, bytes) else line.encode()
    path = write(tmp_path, HEADER.encode() + b'"n000009/0001_01",1,1,9,9\n\n' + raw + b"\n")
    with pytest.raises(RefsrError, match=fault) as caught:
        read_numbers(path, BOX)
    assert str(caught.value).startswith(f"{path}:4: ")


NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)
NAMES = st.from_regex(r"n[0-9]{6}/[0-9]{4}_[0-9]{2}", fullmatch=True)


@settings(deadline=None, max_examples=50)
@given(
    rows=st.dictionaries(NAMES, st.tuples(*[NUMBERS] * 10), max_size=8),
    quoted=st.booleans(),
    comma=st.booleans(),
)
def test_landmarks_are_read_back_as_written(
    tmp_path_factory: pytest.TempPathFactory,
    rows: dict[str, tuple[float, ...]],
    quoted: bool,
    comma: bool,
) -> None:
    quote, end = '"' * quoted, "," * comma + "\n"
    text = "NAME_ID,P1X\n" + "".join(
        f"{quote}{name}{quote},{','.join(map(repr, row))}{end}" for name, row in rows.items()
    )
    table = read_numbers(write(tmp_path_factory.mktemp("meta"), text), LANDMARKS)
    assert list(table.index) == list(rows)
    np.testing.assert_array_equal(table.to_numpy(), np.array(list(rows.values())).reshape(-1, 10))


@settings(deadline=None, max_examples=100)
@given(text=st.text(alphabet='n0123456789,"/_. -emNaif\n', max_size=80))
def test_any_text_is_read_or_refused_by_line(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = write(tmp_path_factory.mktemp("meta"), text)
    for reader in (lambda: read_numbers(path, BOX), lambda: read_sexes(path)):
        try:
            reader()
        except RefsrError as error:
            line = int(str(error).removeprefix(f"{path}:").split(":")[0])
            assert 1 <= line <= text.count("\n") + 1


def test_sexes_are_read_from_the_right(tmp_path: Path) -> None:
    text = (
        "Class_ID, Name, Sample_Num, Flag, Gender\n"
        'n000001, "14th_Dalai_Lama",424,0, m,\n'
        'n000002, "A_Fine_Frenzy",315,1, f\n'
        'n000003, "Sammy_Davis,_Jr.",100,1, m,\n'
        'n000004, "1,2,3",100,1, F\n'
        'n000005, "Zoë",7,0, ,\n'
    )
    sexes = read_sexes(write(tmp_path, text, "identity_meta.csv"))
    assert sexes == {"n000001": "m", "n000002": "f", "n000003": "m", "n000004": "f"}


@settings(deadline=None, max_examples=50)
@given(
    name=st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=30),
    comma=st.booleans(),
)
def test_no_name_hides_the_sex(
    tmp_path_factory: pytest.TempPathFactory, name: str, comma: bool
) -> None:
    line = f'n000007, "{name}",12,1, f' + "," * comma
    assert read_sexes(write(tmp_path_factory.mktemp("meta"), line)) == {"n000007": "f"}


def test_a_bad_identity_line_is_named(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        'Class_ID, Name\nn000001, "x",1,0, m\nn000002, "y",many,0, m\n',
        "identity_meta.csv",
    )
    with pytest.raises(RefsrError) as caught:
        read_sexes(path)
    assert str(caught.value).startswith(f"{path}:3: ")
