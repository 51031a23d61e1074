"""What a file claims is held against bounds before memory or time is spent on it."""

import io
import re
import tarfile
import tracemalloc
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_trees import PARAMS, embed_colour, make_raw, put

from refsr.config import Curate
from refsr.curation.curated_writer import write_curated
from refsr.curation.extraction import Job, features_and_crops
from refsr.errors import RefsrError
from refsr.io import archive as io_archive
from refsr.io import files
from refsr.io.files import Extent
from refsr.io.sources import open_source
from refsr.io.tar import MAX_FILE
from refsr.layouts.base import BOX, LANDMARKS
from refsr.layouts.tree import Tree
from refsr.layouts.vggface2_csv import read_sexes

_META = re.compile(
    r'\s*(n\d{6})\s*,\s*"?(.*?)"?\s*,\s*(\d+)\s*,\s*([01])\s*,\s*([mfMF]?)\s*,*\s*', re.ASCII
)


def _sexes(text: str) -> dict[str, str]:
    return read_sexes(io.BytesIO(text.encode()), "identity_meta.csv")


@pytest.mark.parametrize(
    "line",
    [
        'n000001, "' + ", ,1,1," * 8000 + "x",
        "n000001" + " " * 60000 + "x",
        "n000001," + " ," * 30000,
        'n000001, "' + '"' * 60000,
        "," * 65000,
    ],
)
def test_a_long_line_is_refused_without_backtracking(line: str) -> None:
    with pytest.raises(RefsrError, match=r"identity_meta.csv:1: "):
        _sexes(line)


def test_a_long_name_with_commas_is_read() -> None:
    assert _sexes('n000001, "' + "a,1,0,m," * 8000 + '",424,0, f,') == {"n000001": "f"}


@settings(derandomize=True, max_examples=1000, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "n000001",
                "n1",
                ",",
                ", ",
                '"',
                "A,_B",
                "424",
                "4x",
                "0",
                "1",
                "2",
                "m",
                "F",
                " ",
                ",,",
            ]
        ),
        max_size=14,
    ).map("".join)
)
def test_lines_are_read_as_the_grammar_says(line: str) -> None:
    match = _META.fullmatch(line)
    if not line.strip():
        return
    if match is None:
        with pytest.raises(RefsrError, match="identity_meta"):
            _sexes(line)
    else:
        assert _sexes(line) == ({match[1]: match[5].lower()} if match[5] else {})


def _peak(function: object) -> int:
    tracemalloc.start()
    try:
        function()  # type: ignore[operator]
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("span", [(0, 2**40), (0, -1), (-5, 2), (2**70, 1), (3, 2)])
def test_bytes_that_are_not_there_are_not_set_aside(tmp_path: Path, span: tuple[int, int]) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abcd")

    def read() -> None:
        with pytest.raises(RefsrError, match="shorter than when it was"):
            files.read(Extent(str(path), *span))

    assert _peak(read) < 2**20


def test_a_member_of_a_tar_gz_is_copied_in_pieces(tmp_path: Path) -> None:
    size = 48 * 2**20
    archive = tmp_path / "raw.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        info = tarfile.TarInfo("loose_bb_train.csv")
        info.size = size
        tar.addfile(info, io.BytesIO(bytes(size)))
    peak = _peak(lambda: io_archive.fill(str(archive), tmp_path / "work", lambda name, size: True))
    assert peak < size / 3


@pytest.mark.parametrize("name", ["planted_defects.csv", "identity_meta.csv"])
def test_a_file_too_large_is_not_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "n000001").mkdir()
    (tmp_path / "n000001" / "0001_01.jpg").write_bytes(b"x")
    with (tmp_path / name).open("wb") as file:
        file.truncate(MAX_FILE + 1)  # a hole: it takes no disk

    def read() -> None:
        with pytest.raises(RefsrError, match=f"{name}: {MAX_FILE + 1} bytes"):
            source = Tree(open_source(tmp_path)).source
            source.read(int(source.files.index[source.files["name"] == name][0]))

    assert _peak(read) < 2**24


def _images(folder: Path, sizes: list[int]) -> list[Extent]:
    extents = []
    for number, size in enumerate(sizes):
        path = folder / f"{number:04d}.jpg"
        with path.open("wb") as file:
            file.truncate(size)
        extents.append(Extent(str(path), 0, size))
    return extents


def test_an_image_too_large_is_not_read_with_the_others(tmp_path: Path) -> None:
    extents = _images(tmp_path, [10, MAX_FILE + 1])

    def read() -> None:
        with pytest.raises(
            RefsrError, match=rf"0001.jpg: {MAX_FILE + 1} bytes; files of more than {MAX_FILE}"
        ):
            files.read_all(extents)

    assert _peak(read) < 2**20


@pytest.mark.parametrize(
    ("sizes", "ends"),
    [
        ([], []),
        ([3], [1]),
        ([30], [1]),
        ([4, 4, 4], [2, 3]),
        ([10, 1, 9, 1], [1, 3, 4]),
        ([0, 0, 30, 0], [2, 3, 4]),
        ([5, 5], [2]),
    ],
)
def test_portions_hold_no_more_than_they_may(
    sizes: list[int], ends: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MOST_HELD", 10)
    portions = [*files.portions([Extent("a", 0, size) for size in sizes])]
    assert [part.stop for part in portions] == ends
    assert [part.start for part in portions] == [0, *ends][: len(ends)]


def test_an_identity_of_any_size_is_measured_in_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MOST_HELD", 2**23)
    extents = _images(tmp_path, [2**22] * 12)
    places = dict.fromkeys([*BOX, *LANDMARKS], 1.0)
    images = pd.DataFrame(
        {"identity": "n000001", "source": [f"{n}.jpg" for n in range(12)], "sex": "m", **places}
    )
    results = []
    peak = _peak(
        lambda: results.append(
            features_and_crops(Job(images, extents, True), embed_colour, Curate())[0]
        )
    )
    assert set(results[0].columns["reason"]) == {"not_jpeg"}
    assert peak < 2**24


def test_measured_in_portions_a_set_is_the_same_to_the_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = make_raw(tmp_path / "raw")
    put(raw, "train", 1, "0003_01", b"no image")
    for name, most in (("whole", files.MOST_HELD), ("portions", 20_000), ("single", 1)):
        monkeypatch.setattr(files, "MOST_HELD", most)
        write_curated(PARAMS, raw, tmp_path / name, embed_colour, 1)
    for path in (tmp_path / "whole").iterdir():
        for name in ("portions", "single"):
            assert (tmp_path / name / path.name).read_bytes() == path.read_bytes(), path.name
