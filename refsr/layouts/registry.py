"""The layouts by name, and which of them a raw set has.

A new layout is a line in MODULES and a module with the functions of `base.Layout`.
"""

from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import PurePosixPath
from typing import cast

from refsr.errors import RefsrError
from refsr.io.archive import Selection
from refsr.io.sources import Source
from refsr.io.tar import MAX_FILE
from refsr.layouts.base import Layout

MODULES = {  # `auto` takes the first that knows an identity
    "vggface2": "refsr.layouts.vggface2",
    "people": "refsr.layouts.people",
}
LAYOUTS: dict[str, Layout] = {
    name: cast(Layout, import_module(module)) for name, module in MODULES.items()
}
AUTO = "auto"
_SHOWN = 3  # folders in a message


def check(name: str) -> str:
    """The name itself. Raises RefsrError where it is no layout's."""
    if name != AUTO and name not in LAYOUTS:
        known = ", ".join([AUTO, *LAYOUTS])
        raise RefsrError(f"data.layout: {name[:80]!r} is no layout; known are: {known}")
    return name


def needed(name: str, taken: Callable[[str], bool] = lambda identity: True) -> Selection:
    """Whether a file may be needed, by its name and size.

    That is metadata, or an image of an identity that is `taken`.
    """
    layouts = _candidates(name)

    def is_needed(file: str, size: int) -> bool:
        for layout in layouts:
            identity = layout.identity_of(file)
            if not identity and layout.is_metadata(file, size):
                return True
            if identity and layout.is_image(file) and size <= MAX_FILE and taken(identity):
                return True
        return False

    return is_needed


def deciding(name: str) -> Selection:
    """Whether a file is metadata by which identities are chosen, by its name and size."""
    layouts = _candidates(name)
    return lambda file, size: any(layout.decides_splits(file, size) for layout in layouts)


def _candidates(name: str) -> list[Layout]:
    return [*LAYOUTS.values()] if check(name) == AUTO else [LAYOUTS[name]]


def choose(name: str, source: Source) -> str:
    """The name of the layout that a set has; `auto`: what its folders with images say.

    Raises:
        RefsrError: They say nothing, or contradict each other.
    """
    if check(name) != AUTO:
        return name
    folders = image_folders(source)
    for known, layout in LAYOUTS.items():
        own = {folder for folder in folders if layout.identity_of(f"{folder}/")}
        others = _apart(folders - own, own)
        if own and others:
            raise RefsrError(
                f"{source.uri}: {_shown(own)} are of the layout {known}, and beside them "
                f"{_shown(others)} are not; set data.layout to {known} to read the former alone, "
                f"or to another of {', '.join(LAYOUTS)}"
            )
        if own:
            return known
    raise nothing_here(source, LAYOUTS.values())


def image_folders(source: Source) -> set[str]:
    """The folders that hold what any layout takes for an image of an identity."""
    folders: set[str] = set()
    for name in source.files["name"]:
        folder = name.rpartition("/")[0]
        if folder not in folders and _is_of_an_identity(name):
            folders.add(folder)
    return folders


def _is_of_an_identity(name: str) -> bool:
    return any(layout.identity_of(name) and layout.is_image(name) for layout in LAYOUTS.values())


def _is_image(name: str) -> bool:
    return any(layout.is_image(name) for layout in LAYOUTS.values())


def nothing_here(source: Source, layouts: Iterable[Layout]) -> RefsrError:
    """That a set has no identities: what was seen, and what is expected."""
    names = [name for name in source.files["name"] if _is_image(name)]
    images = f"{len(names)} images" + (f" ({names[0]})" if names else "")
    seen = f"{len(source.files)} files, {images} among them, none in the folder of an identity"
    expected = "; or ".join(layout.expected() for layout in layouts)
    return RefsrError(f"{source.uri}: {seen}; expected are {expected}")


def _apart(others: set[str], own: set[str]) -> set[str]:
    """Those of the other folders that lie neither in nor above one of `own`."""
    above = {str(parent) for folder in own for parent in PurePosixPath(folder).parents}
    return {
        folder
        for folder in others
        if folder not in above
        and not any(str(parent) in own for parent in PurePosixPath(folder).parents)
    }


def _shown(folders: set[str]) -> str:
    names = sorted(folders)
    return f"{len(names)} folders ({', '.join(names[:_SHOWN])}{', ...' * (len(names) > _SHOWN)})"
