"""Archives written member by member, and the bytes of the images of a tree."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

from refsr.layouts.tree import Tree

Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> Member:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(data), kind, link
    return info, data


def pack(path: Path, members: Iterable[Member], form: int = tarfile.PAX_FORMAT) -> Path:
    mode = "w:gz" if path.name.endswith("gz") else "w"
    with tarfile.open(path, mode, format=form) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return path


def bytes_of(tree: Tree) -> dict[str, bytes]:
    images = tree.with_names(tree.images)
    return {
        source: tree.source.read(row)
        for source, row in zip(images["source"], images["file"], strict=True)
    }
