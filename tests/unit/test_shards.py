"""Shards of JPEGs: whatever an image of one holds, what cannot be decoded is one message."""

from pathlib import Path

import numpy as np
import pytest
from raw_trees import draw, jpeg

from refsr.dataset.pixel_shards import Shard, write_shards
from refsr.errors import RefsrError

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
    "held", [b"", b"no image", WHOLE[:40], HUGE], ids=["empty", "text", "cut", "huge"]
)
def test_a_damaged_image_of_a_shard_is_one_message(tmp_path: Path, held: bytes) -> None:
    write_shards(tmp_path, iter([draw(1, 1)] * 2), 2, 120, 2, "jpeg")
    (tmp_path / "hr-00000.jpgs").write_bytes(held + WHOLE)
    np.save(tmp_path / "hr-00000.npy", np.cumsum([0, len(held), len(WHOLE)]))
    shard = Shard(tmp_path / "hr-00000.npy")
    assert shard.pixels(np.array([1])).shape == (1, 120, 120, 3)
    with pytest.raises(RefsrError, match=r"hr-00000\.jpgs: image 0 is damaged.*`curate`"):
        shard.pixels(np.array([0]))
