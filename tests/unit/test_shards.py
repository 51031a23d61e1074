"""Shards of JPEGs: whatever an image of one holds, what cannot be decoded is one message."""

import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import make_curated
from raw_trees import draw, jpeg

from refsr.dataset.curated import Curated, most_open
from refsr.dataset.pixel_shards import Shard, place, write_shards
from refsr.dataset.schema import CROP_LANDMARKS
from refsr.errors import RefsrError
from refsr.io.paths import file_errors_as_messages

WHOLE = jpeg(draw(1, 1))
FRAME = WHOLE.index(b"\xff\xc0")
HUGE = WHOLE[: FRAME + 5] + (60000).to_bytes(2) * 2 + WHOLE[FRAME + 9 :]


def test_a_damaged_header_is_a_value_error(tmp_path: Path) -> None:
    write_shards(tmp_path, iter([draw(1, 1)] * 2), 2, 120, 2, "raw")
    path = tmp_path / "hr-00000.npy"
    path.write_bytes(path.read_bytes().replace(b"'shape': (", b"'sha\xb9+gR9\x05", 1))
    with pytest.raises(ValueError, match="hr-00000"):
        Shard(path)


@pytest.mark.parametrize(
    "held",
    [b"", b"no image", WHOLE[:40], HUGE],
    ids=["empty", "text", "cut", "huge"],
)
def test_a_damaged_image_of_a_shard_is_one_message(tmp_path: Path, held: bytes) -> None:
    write_shards(tmp_path, iter([draw(1, 1)] * 2), 2, 120, 2, "jpeg")
    (tmp_path / "hr-00000.jpgs").write_bytes(held + WHOLE)
    np.save(tmp_path / "hr-00000.npy", np.cumsum([0, len(held), len(WHOLE)]))
    shard = Shard(tmp_path / "hr-00000.npy")
    assert shard.pixels(np.array([1])).shape == (1, 120, 120, 3)
    with pytest.raises(RefsrError, match=r"hr-00000\.jpgs: image 0 is damaged.*`curate`"):
        shard.pixels(np.array([0]))


@pytest.fixture
def few_files() -> Iterator[int]:
    """`ulimit -n 256`."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    yield 256
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("kind", ["raw", "jpeg"])
def test_more_shards_than_files_may_be_open(tmp_path: Path, few_files: int, kind: str) -> None:
    count = few_files + 44
    images = [np.full((16, 16, 3), number % 251, np.uint8) for number in range(count)]
    write_shards(tmp_path, iter(images), count, 16, 1, kind)
    shard, index = place(count, 1)
    table = {"identity": "n000001", "split": "train", "role": "image"}
    pd.DataFrame(table | {"shard": shard, "index": index}).to_parquet(tmp_path / "manifest.parquet")
    curated = Curated(tmp_path)
    rows = np.random.default_rng(0).permutation(count)
    read = curated.pixels(rows).astype(int)
    assert np.abs(read - (rows % 251)[:, None, None, None]).max() <= (kind == "jpeg")
    assert most_open() == 64


def test_too_many_open_files_are_no_damage(tmp_path: Path) -> None:
    curated = Curated(make_curated(tmp_path / "curated"))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        with pytest.raises(RefsrError) as caught, file_errors_as_messages():
            curated.pixels(np.array([0]))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    path = tmp_path / "curated/hr-00000.npy"
    way_out = "Too many open files; allow more open files: `ulimit -n 1024`"
    assert str(caught.value) == f"{path}: {way_out}"


def test_chosen_columns_are_those_of_the_whole_table(tmp_path: Path) -> None:
    folder = make_curated(tmp_path / "curated", train=3, validation=1)
    whole, narrow = Curated(folder), Curated(folder, columns=["source"])
    columns = ["identity", "split", "role", "shard", "index", "source"]
    assert list(narrow.table.columns) == columns
    texts = dict.fromkeys(["identity", "split", "role"], "str")
    pd.testing.assert_frame_equal(narrow.table.astype(texts), whole.table[columns])
    rows = np.array([7, 2, 2])
    assert np.array_equal(narrow.landmarks(rows), whole.landmarks(rows))
    assert np.array_equal(narrow.split("train"), whole.split("train"))
    whole.table.drop(columns=CROP_LANDMARKS[3]).to_parquet(folder / "manifest.parquet")
    with pytest.raises(RefsrError, match=f"no column {CROP_LANDMARKS[3]}: an older version"):
        Curated(folder, columns=()).landmarks(rows)


@pytest.mark.parametrize("index", [-1, 2])
@pytest.mark.parametrize("rows", [[1], [1, 2]], ids=["one_shard", "several"])
def test_an_image_that_no_shard_holds_is_one_message(
    tmp_path: Path,
    index: int,
    rows: list[int],
) -> None:
    write_shards(tmp_path, iter([np.zeros((16, 16, 3), np.uint8)] * 4), 4, 16, 2)
    shard, places = place(4, 2)
    places[1] = index
    table = {"identity": "n000001", "split": "train", "role": "image"}
    pd.DataFrame(table | {"shard": shard, "index": places}).to_parquet(
        tmp_path / "manifest.parquet",
    )
    with pytest.raises(RefsrError, match=r"hr-00000\.npy: fewer images .*`curate`"):
        Curated(tmp_path, columns=()).pixels(np.array(rows))
