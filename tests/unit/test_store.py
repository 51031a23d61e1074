"""What was measured is found again, and little of it is in memory while it is judged."""

from pathlib import Path

import numpy as np
import pytest

from refsr.curation.extraction import IdentityFeatures
from refsr.curation.feature_store import Store
from refsr.curation.selection import RANKED
from refsr.io.arrays import OnDisk, in_blocks

EACH = 500


def measured(number: int) -> IdentityFeatures:
    """An identity half of whose images are left out."""
    rng = np.random.default_rng(number)
    columns = {
        "identity": np.full(EACH, f"n{number:06d}", object),
        "source": np.array(
            [f"train/n{number:06d}/{row:04d}_01.jpg" for row in range(EACH)], object
        ),
        "reason": np.array(["", "blurred"] * (EACH // 2), object),
        "value": rng.random(EACH),
        "detail": np.array(["", f"sharpness is under {0.25:g}"] * (EACH // 2), object),
        "dhash": rng.integers(0, 2**63, EACH, np.uint64),
        "crop": np.full(EACH, -1),
        "sha256": np.array([f"{row:064x}" for row in range(EACH)], object),
    }
    ranked = {name: rng.random(EACH) for name in RANKED if name != "lot"} | {
        "lot": rng.permutation(EACH).astype("u8")
    }
    thumbs = rng.integers(0, 256, (EACH, 32, 32), np.uint8)
    return IdentityFeatures(columns | ranked, thumbs, rng.random((EACH, 8)).astype(np.float32))


def test_few_bytes_of_each_image_are_in_memory_while_it_is_judged(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number in range(1, 9):
        store.add(measured(number))
    store.flush()
    table = store.gather([f"n{number:06d}" for number in range(8, 0, -1)]).table
    assert len(table) == 8 * EACH
    assert table.memory_usage(index=False).sum() / len(table) < 70  # as many again are the marks
    assert len({id(detail) for detail in table["detail"]}) == 2  # strings


def test_arrays_are_those_of_the_identities_in_the_order_asked_for(tmp_path: Path) -> None:
    store, made = Store(tmp_path), {number: measured(number) for number in (1, 2, 3)}
    for one in made.values():
        store.add(one)
    store.flush()
    gathered = store.gather(["n000003", "n000001"])
    np.testing.assert_array_equal(
        gathered.thumbs[:], np.concatenate([made[3].thumbs, made[1].thumbs])
    )
    for name in RANKED:
        expected = np.concatenate([made[3].columns[name], made[1].columns[name]])
        np.testing.assert_array_equal(gathered.ranked[np.arange(2 * EACH)][name], expected)


@pytest.mark.parametrize(
    "rows",
    [slice(3, 9), slice(None), [], [5], [7, 7, 2], [0, 1, 2, 6, 7, 3, 4], np.arange(9, -1, -1)],
)
def test_rows_on_the_disk_are_those_of_the_array(rows: slice | list[int], tmp_path: Path) -> None:
    array = np.random.default_rng(0).random((10, 3, 2))
    np.save(tmp_path / "a.npy", array)
    on_disk = OnDisk(tmp_path / "a.npy")
    assert len(on_disk) == 10
    np.testing.assert_array_equal(
        on_disk[rows], array[np.asarray(rows, int) if isinstance(rows, list) else rows]
    )


@pytest.mark.parametrize("sizes", [[], [0], [3], [4], [1, 0, 2, 9, 1], [12]])
def test_rows_come_in_full_blocks_in_their_order(sizes: list[int]) -> None:
    whole = np.arange(2 * sum(sizes)).reshape(-1, 2)
    blocks = list(in_blocks(np.split(whole, np.cumsum(sizes)[:-1]) if sizes else [], 4))
    assert [len(block) for block in blocks] == [4] * (len(whole) // 4) + [len(whole) % 4] * (
        len(whole) % 4 > 0
    )
    np.testing.assert_array_equal(np.concatenate([whole[:0], *blocks]), whole)
