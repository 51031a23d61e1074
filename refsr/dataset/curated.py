"""Read a curated set: the manifest, and HR pixels in uint8 shards.

curated/
  manifest.parquet   a row per image; columns in refsr.dataset.schema
  rejects.parquet    a row per image left out, with the reason and the measured value
  hr-00000.npy ...   (N, H, H, 3) uint8 RGB, memory-mapped; or JPEGs, see refsr.dataset.pixel_shards
  summary.json       counts; precision and recall where the planted defects are known
"""

from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from refsr.dataset.anonymous import names_of
from refsr.dataset.pixel_shards import Shard
from refsr.dataset.schema import CROP_LANDMARKS
from refsr.errors import RefsrError
from refsr.io import own_files

_AGAIN = "run the stage `curate` again"
_NEEDED = {
    "identity": pd.api.types.is_string_dtype,
    "split": pd.api.types.is_string_dtype,
    "role": pd.api.types.is_string_dtype,
    "shard": pd.api.types.is_integer_dtype,
    "index": pd.api.types.is_integer_dtype,
}


class Curated:
    """A curated folder opened for reading.

    Attributes:
        folder: Its path.
        names: How names are shown: `curate.anonymous` hides them.
        table: The manifest, a row per image; names are as they are shown.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sizes: dict[int, int] = {}  # of the shards read so far
        if not (folder / "manifest.parquet").is_file():
            what = "no curated set here (manifest.parquet is missing)"
            raise RefsrError(f"{folder}: {what}; run the stage `curate`")
        manifest = own_files.read_table(folder / "manifest.parquet", _NEEDED, "curate")
        self.names = names_of(folder, manifest)
        self.table = self.names.shown(manifest)

    @cached_property
    def _shards(self) -> dict[int, Shard]:
        paths = sorted(self.folder.glob("hr-*.npy"))
        if not paths:
            raise RefsrError(
                f"{self.folder}: no pixels here (hr-*.npy is missing); run the stage `curate`",
            )
        try:
            return {int(path.stem.removeprefix("hr-")): Shard(path) for path in paths}
        except (OSError, ValueError, EOFError, SyntaxError, MemoryError, OverflowError) as error:
            raise RefsrError(
                f"{self.folder}: pixels are damaged ({error}); run the stage `curate` again",
            ) from error

    @cached_property
    def hr_size(self) -> int:
        """The side of the square HR images, pixels."""
        return next(iter(self._shards.values())).size()

    @property
    def is_lossy(self) -> bool:
        """Whether pixels are stored as JPEGs, so that they differ from those measured."""
        return next(iter(self._shards.values())).is_jpeg

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
        out = np.empty((len(rows), self.hr_size, self.hr_size, 3), np.uint8)
        for number in np.unique(shard).tolist():
            chosen = np.flatnonzero(shard == number)
            out[chosen] = self._shard(number, index[chosen]).pixels(index[chosen])
        return out

    def landmarks(self, rows: np.ndarray) -> np.ndarray:
        """The landmarks of these rows in their images: (N, 5, 2) float32, NaN where unknown.

        (x, y) in [-1, 1], see refsr.models.landmarks. Raises RefsrError where the manifest has
        none.
        """
        missing = set(CROP_LANDMARKS) - set(self.table.columns)
        if missing:
            path = self.folder / "manifest.parquet"
            raise RefsrError(
                f"{path}: no column {min(missing)}: an older version made it; {_AGAIN}"
            )
        pixels: np.ndarray = self.table[list(CROP_LANDMARKS)].to_numpy(np.float32)[rows]
        points: np.ndarray = pixels.reshape(-1, 5, 2) * np.float32(2 / self.hr_size) - 1
        return points

    def _shard(self, number: int, index: np.ndarray) -> Shard:
        """The shard of this number, which must hold images at `index`."""
        path = self.folder / f"hr-{number:05d}.npy"
        shard = self._shards.get(number)
        if shard is None:
            raise RefsrError(f"{path}: missing; run the stage `curate` again")
        if index.min() < 0 or index.max() >= len(shard):
            raise RefsrError(f"{path}: fewer images than the manifest names; {_AGAIN}")
        if number not in self._sizes:
            self._sizes[number] = shard.size()
        if self._sizes[number] != self.hr_size or self.hr_size == 0:
            raise RefsrError(f"{path}: its images are not square or of another size; {_AGAIN}")
        return shard

    def split(self, name: str) -> np.ndarray:
        """The rows of `table` of one split, one of schema.SPLITS."""
        return np.flatnonzero((self.table["split"] == name).to_numpy())
