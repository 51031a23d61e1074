"""A raw set as it is being measured: its tree, and what was measured so far, kept in the output until that is whole."""

import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from refsr.config import Curate
from refsr.curation import partition
from refsr.curation.extraction import Detector, Embed, Job, measure
from refsr.curation.feature_store import Gathered, Store
from refsr.curation.partition import WHOLE, Share
from refsr.curation.pipeline import describe
from refsr.curation.planted_defects import PLANTED
from refsr.curation.workers import DECODED
from refsr.io import archive, atomic
from refsr.io.arrays import give_back, map_arrays
from refsr.io.sources import open_source
from refsr.layouts.registry import AUTO, LAYOUTS, needed
from refsr.layouts.tree import Tree
from refsr.progress import Progress

WORK = "work"  # folder in the output; a part of a curation keeps it, a curated set does not
FINISHED = "work.finished"  # its name in a whole set, which is not in place yet: refsr.steps removes it then
_SLICE = 2**12  # images whose metadata are held in memory at a time
_LONG = 600_000  # bytes from which on arrays are mapped by themselves while a set is judged: above a block of hashes


class Measuring:
    """Measures identities of the raw set at `raw`, but none that `folder` or the parts `joined` hold already."""

    def __init__(
        self,
        raw: str | Path,
        folder: Path,
        params: Curate,
        embed: Embed,
        workers: int,
        share: Share = WHOLE,
        joined: Sequence[Path] = (),
        detector: Detector | None = None,
        layout: str = AUTO,
    ) -> None:
        map_arrays(_LONG)
        listed = None if params.identities == "all" else frozenset(params.identities)

        def taken(identity: str) -> bool:
            return share.holds(identity) and (listed is None or identity in listed)

        is_needed = needed(layout, taken)

        def is_kept(name: str, size: int) -> bool:
            return is_needed(name, size) or name.rpartition("/")[2] == PLANTED

        self.count = 0  # images measured by this very run
        self._work = _work_folder(folder)
        known = [part / WORK / "spool" for part in joined]
        self.tree = Tree(open_source(raw, self._work / "spool", is_kept, known), layout)
        if joined:
            partition.check(joined, self.tree.source.signature, params, self.tree.layout)
        self.store = Store(self._work / "measured", [part / WORK / "measured" for part in joined])
        self._measure = partial(
            measure, folder=self.store.folder, embed=embed, params=params, workers=workers, detector=detector
        )
        self._boxed = self.tree.metadata.has_boxes
        give_back()

    def measure(self, identities: list[str]) -> Gathered:
        """All that is measured of these identities, in this order."""
        images = self.tree.images
        missing = [identity for identity in identities if identity not in self.store]
        if missing:
            self._measure_images(np.flatnonzero(images["identity"].isin(missing)))
        return self.store.gather([identity for identity in identities if identity in self.store])

    def _measure_images(self, rows: np.ndarray) -> None:
        self.tree.source.keep(self.tree.images["file"].to_numpy()[rows], self._work / "spool")
        with Progress(total=len(rows), desc="measured", unit="image") as progress:
            for measured in self._measure(self._jobs(rows)):
                self.store.add(measured)
                self.count += len(measured)
                progress.update(len(measured))
        self.store.flush()
        map_arrays(_LONG)
        give_back()

    def _jobs(self, rows: np.ndarray) -> Iterator[Job]:
        for some in _slices(rows, self.tree.images["identity"].cat.codes.to_numpy()[rows]):
            told = describe(self.tree, self.tree.images.iloc[some])
            for _, images in told.groupby("identity", observed=True, sort=True):
                yield Job(
                    images.drop(columns=["root", "file"]),
                    self.tree.source.extents(images["file"].to_numpy()),
                    self._boxed,
                )

    def slim(self) -> None:
        """Of each tar.gz keep the metadata only: all that is needed of its images was measured."""
        identity_of = LAYOUTS[self.tree.layout].identity_of
        for place, prefix in self.tree.source.archives.items():
            if archive.is_packed(place):
                folder = self._work / "spool" / archive.folder_name(self.tree.source.uri, place)
                archive.slim(folder, lambda name, prefix=prefix: not identity_of(prefix + name))  # type: ignore[misc]

    def close(self, *, keep: bool) -> None:
        """Remove what was kept to go on after a kill; with `keep` it stays, marked as finished."""
        if keep:
            self._work.rename(self._work.with_name(FINISHED))
        else:
            shutil.rmtree(self._work)
        map_arrays(DECODED)  # for whoever goes on in this process


def _slices(rows: np.ndarray, codes: np.ndarray) -> list[np.ndarray]:
    """The rows of whole identities, whose `codes` ascend, so many at a time."""
    ends = np.flatnonzero(np.diff(codes)) + 1
    return np.split(rows, ends[np.flatnonzero(np.diff(ends // _SLICE, prepend=0))])


def _is_of_this_version(version: Path) -> bool:
    try:
        return version.read_text(encoding="utf-8") == partition.VERSION
    except (OSError, ValueError):
        return False


def _work_folder(output: Path) -> Path:
    """Where an output keeps what is measured, empty if another version of refsr began it."""
    work, version = output / WORK, output / WORK / "version"
    if (output / FINISHED).exists() and not work.exists():
        (output / FINISHED).rename(work)
    if not _is_of_this_version(version):
        atomic.remove(work)
    work.mkdir(parents=True, exist_ok=True)
    version.write_text(partition.VERSION)
    return work
