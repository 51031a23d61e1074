"""Collect the features of a raw set; they stay in the output until that is complete."""

import logging
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from refsr.config import Curate
from refsr.curation import partition
from refsr.curation.detection import Embed
from refsr.curation.extraction import Detector, Job, extract
from refsr.curation.feature_store import Features, Store
from refsr.curation.pipeline import describe
from refsr.curation.planted_defects import PLANTED
from refsr.io import archive, atomic
from refsr.io.archive import Selection
from refsr.io.sources import open_source
from refsr.layouts.base import BOX
from refsr.layouts.registry import AUTO, LAYOUTS, needed
from refsr.layouts.tree import Tree
from refsr.progress import Progress
from refsr.share import WHOLE, Share

_logger = logging.getLogger(__name__)

WORK = "work"  # folder in the output; a part of a curation keeps it, a curated set does not
# Its name in a complete set that is not in place yet; refsr.steps removes it.
FINISHED = "work.finished"
_ARCHIVES, _FEATURES = "spool", "measured"  # folders in WORK
_SLICE = 2**12  # images whose metadata are in memory at a time


class FeatureCollector:
    """Extracts features of identities of a raw set, except those that are on the disk already.

    Attributes:
        tree: The raw set.
        store: Features on the disk.
        extracted: Images whose features this run extracted.
    """

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
        """Open the raw set; its archives are indexed if this was not done before.

        Args:
            raw: Path or URI of the raw set.
            folder: The output; features are kept in `folder`/work.
            params: The section `curate`.
            embed: The identity network.
            workers: Processes.
            share: The part of the identities to extract.
            joined: Parts of this set that hold features.
            detector: Detects faces, and rejects chips that show none.
            layout: How the raw set is laid out; see refsr.layouts.

        Raises:
            RefsrError: The raw set cannot be read, or a part is of another set or damaged.
        """
        self.extracted = 0
        self._work = _work_folder(folder)
        selection = _selection(params.identities, share, layout)
        known = [part / WORK / _ARCHIVES for part in joined]
        source = open_source(raw, self._work / _ARCHIVES, selection, known)
        self.tree = Tree(source, layout)
        if joined:
            partition.check(joined, source.signature, params, self.tree.layout)
        others = [part / WORK / _FEATURES for part in joined]
        self.store = Store(self._work / _FEATURES, others)
        self._extract = partial(
            extract,
            folder=self.store.folder,
            embed=embed,
            params=params,
            workers=workers,
            detector=detector,
        )
        metadata = self.tree.metadata
        can_crop = metadata.has_landmarks or params.crop == "loose"
        self.boxed = metadata.has_boxes and can_crop  # if not, faces are detected

    def collect(self, identities: list[str]) -> Features:
        """The features of these identities, in this order; missing ones are extracted."""
        images = self.tree.images
        missing = [identity for identity in identities if identity not in self.store]
        if missing:
            self._extract_rows(np.flatnonzero(images["identity"].isin(missing)))
        return self.store.gather([identity for identity in identities if identity in self.store])

    def _extract_rows(self, rows: np.ndarray) -> None:
        """Extract the features of the identities whose images are these rows of the tree."""
        _logger.info("extracts features of %d images", len(rows))
        files = self.tree.images["file"].to_numpy()[rows]
        self.tree.source.keep(files, self._work / _ARCHIVES)
        with Progress(total=len(rows), desc="measured", unit="image") as progress:
            for features in self._extract(self._jobs(rows)):
                self.store.add(features)
                self.extracted += len(features)
                progress.update(len(features))
        self.store.flush()

    def _jobs(self, rows: np.ndarray) -> Iterator[Job]:
        codes = self.tree.images["identity"].cat.codes.to_numpy()[rows]
        for some in _slices(rows, codes):
            table = describe(self.tree, self.tree.images.iloc[some])
            if not self.boxed:
                table[list(BOX)] = np.nan
            for _, images in table.groupby("identity", observed=True, sort=True):
                extents = self.tree.source.extents(images["file"].to_numpy())
                yield Job(images.drop(columns=["root", "file"]), extents, self.boxed)

    def slim(self) -> None:
        """Delete the images of each tar.gz, whose features are extracted; metadata stay."""
        source = self.tree.source
        for place, prefix in source.archives.items():
            if archive.is_packed(place):
                folder = self._work / _ARCHIVES / archive.folder_name(source.uri, place)
                archive.slim(folder, partial(self._is_metadata, prefix))

    def _is_metadata(self, prefix: str, name: str) -> bool:
        """Whether a member of an archive that stands for the folder `prefix` is no person's."""
        return not LAYOUTS[self.tree.layout].identity_of(prefix + name)

    def close(self, *, keep: bool) -> None:
        """Remove what a killed run would go on from; with `keep` it stays, marked as finished."""
        if keep:
            self._work.rename(self._work.with_name(FINISHED))
        else:
            shutil.rmtree(self._work)


def _selection(identities: str | tuple[str, ...], share: Share, layout: str) -> Selection:
    """Which files of an archive are kept: metadata, and images of the identities in question."""
    listed = None if identities == "all" else frozenset(identities)

    def holds(identity: str) -> bool:
        return share.holds(identity) and (listed is None or identity in listed)

    is_needed = needed(layout, holds)

    def selection(name: str, size: int) -> bool:
        return is_needed(name, size) or name.rpartition("/")[2] == PLANTED

    return selection


def _slices(rows: np.ndarray, codes: np.ndarray) -> list[np.ndarray]:
    """Rows of complete identities, some _SLICE at a time; `codes` of the identities ascend."""
    ends = np.flatnonzero(np.diff(codes)) + 1
    return np.split(rows, ends[np.flatnonzero(np.diff(ends // _SLICE, prepend=0))])


def _is_of_this_version(version: Path) -> bool:
    try:
        return version.read_text(encoding="utf-8") == partition.VERSION
    except (OSError, ValueError):
        return False


def _work_folder(output: Path) -> Path:
    """The folder of an output's features; it is emptied if another version of refsr made it."""
    work, version = output / WORK, output / WORK / "version"
    if (output / FINISHED).exists() and not work.exists():
        (output / FINISHED).rename(work)
    if not _is_of_this_version(version):
        atomic.remove(work)
    work.mkdir(parents=True, exist_ok=True)
    version.write_text(partition.VERSION)
    return work
