"""A raw set as its layout reads it: identities, their images, and what is known of them."""

from array import array
from collections.abc import Collection
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from refsr.errors import RefsrError
from refsr.io.sources import Source, open_source, stem
from refsr.io.tar import MAX_FILE
from refsr.layouts.base import SEXES, SPLITS
from refsr.layouts.registry import AUTO, LAYOUTS, choose, nothing_here

_ROOTS = (*SPLITS, "")


class Tree:
    """A raw set of identities.

    layout: its name in refsr.layouts.registry.
    images: a row per image, sorted by identity and name: identity, root ("train", "test" or ""),
        sex ("m", "f" or "?"), file (its row in `source.files`, which has its name).
    identities: all that have a folder.
    empty: identities that have a folder and no image.
    strays: how many images stand in no identity's folder; they are not read.
    refused: what is never read; columns name, identity, reason, value, detail.
    metadata: what the set says of its images.

    Raises:
        RefsrError: There are no images of identities, or one identity stands in two places.
    """

    def __init__(self, raw: Source | Path | str, layout: str = AUTO) -> None:
        self.source = raw if isinstance(raw, Source) else open_source(raw)
        self.layout = choose(layout, self.source)
        self._rules = LAYOUTS[self.layout]
        self.metadata = self._rules.metadata(self.source)
        self.images, folders, self.strays = self._images()
        if not len(self.images):
            raise nothing_here(self.source, [self._rules])
        self.identities = self.images["identity"].cat.categories.union(self._empty_folders(folders))
        self.empty = sorted(set(self.identities) - set(self.images["identity"].unique()))
        self.refused = self._refused()

    def _images(self) -> tuple[pd.DataFrame, list[str], int]:
        """(the table, the folders of identities, images that stand in none of these)."""
        folders, codes, files = self._image_rows()
        identities, roots = self._by_folder(folders)
        own = [folder for folder, identity in zip(folders, identities, strict=True) if identity]
        people = sorted({identity for identity in identities if identity})
        numbers = {identity: number for number, identity in enumerate(people)} | {"": -1}
        number = np.array([numbers[identity] for identity in identities], np.int32)[codes]
        root = np.array([_ROOTS.index(root) for root in roots], np.int8)[codes]
        kept = number >= 0
        sexes = self.metadata.sexes()
        sex = np.array([SEXES.index(sexes.get(key, "?")) for key in people], np.int8)[number[kept]]
        images = pd.DataFrame(
            {
                "identity": pd.Categorical.from_codes(number[kept], pd.Index(people, dtype="str")),
                "root": pd.Categorical.from_codes(root[kept], pd.Index(_ROOTS)),
                "file": files[kept],
                "sex": pd.Categorical.from_codes(sex, pd.Index(SEXES)),
            }
        )
        order = _by_identity_and_name(self.with_names(images))
        return images.iloc[order].reset_index(drop=True), own, int(np.sum(~kept))

    def _image_rows(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        """(folders, place of each image's folder among these, its row in `source.files`)."""
        folders: dict[str, int] = {}
        codes, rows = array("i"), array("q")
        files = self.source.files
        is_image = self._rules.is_image
        for row, (name, size) in enumerate(zip(files["name"], files["size"], strict=True)):
            if size <= MAX_FILE and is_image(name):
                codes.append(folders.setdefault(name.rpartition("/")[0], len(folders)))
                rows.append(row)
        return [*folders], np.array(codes, np.int32), np.array(rows, np.int64)

    def _by_folder(self, folders: list[str]) -> tuple[list[str], list[str]]:
        """(identity, root) of each folder; no identity where it is nobody's."""
        uri, rules = self.source.uri, self._rules
        every = {folder: rules.identity_of(f"{folder}/") for folder in folders}
        named = {folder: identity for folder, identity in every.items() if identity}
        own = rules.identity_folders(uri, {*named})
        homes: dict[str, str] = {}
        for folder, identity in named.items():
            if folder in own and homes.setdefault(identity, folder) != folder:
                raise RefsrError(
                    f"{uri}: identity {identity} stands in {homes[identity]} and in {folder} "
                    "as well; an identity belongs to one folder of one split: "
                    "remove or rename one of them"
                )
        top = stem(uri.rpartition("/")[2])
        roots = [rules.split_of(f"{top}/{folder}") for folder in folders]
        return [named[folder] if folder in own else "" for folder in folders], roots

    def with_names(self, images: pd.DataFrame) -> pd.DataFrame:
        """Some of `images` and `source`, the name of each in the set."""
        return images.assign(source=self.source.files["name"].iloc[images["file"].to_numpy()].array)

    def _empty_folders(self, folders: Collection[str]) -> list[str]:
        """Identities by folders that hold no image, and are not above one that does."""
        full = {*folders}.union(
            *({str(parent) for parent in PurePosixPath(folder).parents} for folder in folders)
        )
        empty = (
            self._rules.identity_of(f"{name}/") for name in self.source.folders if name not in full
        )
        return sorted({identity for identity in empty if identity})

    def _refused(self) -> pd.DataFrame:
        files, identity_of = self.source.files, self._rules.identity_of
        large = files[files["size"] > MAX_FILE]
        large = large[np.array([bool(identity_of(name)) for name in large["name"]], bool)]
        large = large[["name"]].assign(
            reason="oversized_file", value=large["size"], detail=f"more than {MAX_FILE} bytes"
        )
        refused = pd.concat([self.source.refused, large], ignore_index=True)
        return refused.assign(identity=[identity_of(name) for name in refused["name"]])


def _by_identity_and_name(images: pd.DataFrame) -> np.ndarray:
    """(N,) the order; by Arrow, since to sort strings pandas makes a Python object of each."""
    keys = pa.table(
        {"identity": images["identity"].cat.codes.to_numpy(), "source": pa.array(images["source"])}
    )
    return np.asarray(
        pc.sort_indices(keys, sort_keys=[("identity", "ascending"), ("source", "ascending")])
    )
