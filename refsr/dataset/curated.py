"""Read a curated set: the manifest, and HR pixels in uint8 shards.

curated/
  manifest.parquet   a row per image; columns in refsr.dataset.schema
  rejects.parquet    a row per image left out, with the reason and the measured value
  hr-00000.npy ...   (N, H, H, 3) uint8 RGB, memory-mapped; or JPEGs, see refsr.dataset.pixel_shards
  summary.json       counts; precision and recall where the planted defects are known
"""

import errno
import resource
from collections.abc import Sequence
from functools import cached_property, lru_cache, partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from refsr.dataset.anonymous import Names, names_of
from refsr.dataset.pixel_shards import Shard
from refsr.dataset.schema import CROP_LANDMARKS
from refsr.errors import RefsrError
from refsr.io import own_files

_AGAIN = "run the stage `curate` again"
_NAMES = ("identity", "split", "role")
_PLACES = ("shard", "index")
_NEEDED = dict.fromkeys(_NAMES, own_files.is_text) | dict.fromkeys(
    _PLACES, pd.api.types.is_integer_dtype
)
_DAMAGE = (None, errno.EINVAL, errno.ENOENT, errno.EISDIR)
_ROWS = 2**16  # of a column that are gathered at a time
_OTHER_FILES = 128  # descriptors left to all else


class Curated:
    """A curated folder opened for reading. Few shards are open at a time.

    Attributes:
        folder: Its path.
        names: How names are shown: `curate.anonymous` hides them.
        table: The manifest, a row per image; names are as they are shown.
    """

    def __init__(self, folder: Path, columns: Sequence[str] | None = None) -> None:
        """Open a folder.

        Args:
            folder: Its path.
            columns: What `table` has beside identity, split, role, shard and index; the first
                three are categories then, which take a tenth of the memory. None reads all columns.
        """
        self.folder = folder
        self._manifest = folder / "manifest.parquet"
        if not self._manifest.is_file():
            what = "no curated set here (manifest.parquet is missing)"
            raise RefsrError(f"{folder}: {what}; run the stage `curate`")
        few = ([*_NEEDED, *columns], _NAMES) if columns is not None else (None, ())
        table = own_files.read_table(self._manifest, _NEEDED, "curate", *few)
        # Who reads some columns shows nobody's name.
        self.names = names_of(folder, table) if columns is None else Names()
        self.table = self.names.shown(table)
        # In several threads; a shard that is dropped stays open until nobody reads it.
        self._shard = lru_cache(most_open())(partial(_open_shard, folder))

    @cached_property
    def _first_shard(self) -> Shard:
        numbers = [int(path.stem.removeprefix("hr-")) for path in self.folder.glob("hr-*.npy")]
        if not numbers:
            raise RefsrError(
                f"{self.folder}: no pixels here (hr-*.npy is missing); run the stage `curate`",
            )
        return self._shard(min(numbers))

    @cached_property
    def hr_size(self) -> int:
        """The side of the square HR images, pixels."""
        return self._first_shard.side

    @property
    def is_lossy(self) -> bool:
        """Whether pixels are stored as JPEGs, so that they differ from those measured."""
        return self._first_shard.is_jpeg

    @cached_property
    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        """(shard, index) of all rows."""
        return self.table["shard"].to_numpy(), self.table["index"].to_numpy()

    def pixels(self, rows: np.ndarray) -> np.ndarray:
        """The images of these rows of `table`: (N, H, H, 3) uint8 RGB.

        Raises:
            RefsrError: Pixels that the manifest lists are missing, or of another size.
        """
        shard, index = (places[rows] for places in self._places)
        if len(rows) and shard.min() == shard.max():
            return self._shard_with(int(shard[0]), index.min(), index.max()).pixels(index)
        out = np.empty((len(rows), self.hr_size, self.hr_size, 3), np.uint8)
        order = np.lexsort((index, shard))
        shard, index = shard[order], index[order]
        starts = np.flatnonzero(np.diff(shard, prepend=shard[:1] - 1)).tolist()
        for start, stop in pairwise([*starts, len(rows)]):
            chosen = slice(start, stop)
            opened = self._shard_with(int(shard[start]), index[start], index[stop - 1])
            opened.read_into(out, order[chosen], index[chosen])
        return out

    def landmarks(self, rows: np.ndarray) -> np.ndarray:
        """The landmarks of these rows in their images: (N, 5, 2) float32, NaN where unknown.

        (x, y) in [-1, 1], see refsr.models.landmarks. Raises RefsrError where the manifest has
        none.
        """
        points = np.empty((len(CROP_LANDMARKS), len(rows)), np.float32)
        for place, name in enumerate(CROP_LANDMARKS):
            column = self._column(name)
            for start in range(0, len(rows), _ROWS):  # indices are copied as int64
                piece = slice(start, start + _ROWS)
                points[place, piece] = column[rows[piece]]
        points *= np.float32(2 / self.hr_size)
        points -= 1
        return points.T.reshape(-1, 5, 2)

    def _column(self, name: str) -> np.ndarray:
        """A column of the manifest, of those that are not in memory one at a time."""
        table = self.table
        if name not in table:
            needed = {name: pd.api.types.is_numeric_dtype}
            if name not in own_files.columns(self._manifest, "curate"):
                raise RefsrError(
                    f"{self._manifest}: no column {name}: an older version made it; {_AGAIN}"
                )
            table = own_files.read_table(self._manifest, needed, "curate", [name])
        column: np.ndarray = table[name].to_numpy(np.float32)
        return column

    def _shard_with(self, number: int, first: int, last: int) -> Shard:
        """The shard of this number, which must hold images at indices `first` ... `last`."""
        shard = self._shard(number)
        if first < 0 or last >= len(shard):
            raise RefsrError(f"{shard.path}: fewer images than the manifest names; {_AGAIN}")
        if shard.side != self.hr_size or self.hr_size == 0:
            what = "its images are not square or of another size"
            raise RefsrError(f"{shard.path}: {what}; {_AGAIN}")
        return shard

    def split(self, name: str) -> np.ndarray:
        """The rows of `table` of one split, one of schema.SPLITS."""
        return np.flatnonzero((self.table["split"] == name).to_numpy())


def most_open() -> int:
    """How many shards are open at a time: each takes up to two descriptors."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return 4096
    return min(4096, max(4, (limit - _OTHER_FILES) // 2))


def _open_shard(folder: Path, number: int) -> Shard:
    path = folder / f"hr-{number:05d}.npy"
    if not path.exists():
        raise RefsrError(f"{path}: missing; {_AGAIN}")
    try:
        return Shard(path)
    except (OSError, ValueError, EOFError, SyntaxError, MemoryError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno not in _DAMAGE:
            raise  # what the system says of its limits or its disk
        raise RefsrError(f"{folder}: pixels are damaged ({error}); {_AGAIN}") from error
