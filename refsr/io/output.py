"""Outputs of a stage: check what they replace, write them beside it, and put them in place."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from refsr.errors import RefsrError
from refsr.io import atomic, marker, retained
from refsr.io.lock import Lock, read_key
from refsr.io.marker import RESUME_POINTS
from refsr.io.paths import (
    file_errors_as_messages,
    path_text,
    real,
    require_folder,
    require_short_names,
    require_writable,
    require_writable_tree,
)

SCRATCH, KEY, ASIDE = ".partial", ".partial-key", ".partial-old"
RETAINED = ".resume"  # see refsr.io.retained
_SEPARATE = "name a separate folder"


class Output:
    """One output folder, from its check to the moment it is in place. Methods raise RefsrError.

    Attributes:
        stage: The stage that writes it.
        name: Stage, option and path, for messages.
        place: The path, with a link followed.
        partial: Where the stage writes.
        aside: Where the old output is for a moment; see atomic.replace.
        retained: Where the state of a finished training stays.
    """

    def __init__(self, stage: str, option: str, path: Path) -> None:
        self.stage = stage
        self.name = f"{stage}: output {option} {path}"
        with _named(self.name):
            require_short_names(Path(path_text(str(path))))
            is_plain = path.name not in ("", "..") and not path.is_symlink()
            self.place = path if is_plain else real(path)
            if not self.place.name:
                raise RefsrError("is the root folder; name a separate folder")
        self.partial = atomic.sibling(self.place, SCRATCH)
        self.aside = atomic.sibling(self.place, ASIDE)
        self.retained = atomic.sibling(self.place, RETAINED)
        self._fingerprint = ""
        self._lock = Lock(atomic.sibling(self.place, KEY))

    @property
    def paths(self) -> list[Path]:
        """All paths that this output writes to."""
        return [self.place, self.partial, self.aside, self.retained, self._lock.key]

    def check(self) -> None:
        """Check that this stage may write and replace the output; nothing is changed."""
        with _named(self.name):
            require_folder(self.place.parent)
            marker.require_own(self.place, self.stage)
            known = read_key(self._lock.key) is not None
            for path in (self.partial, self.aside):
                if os.path.lexists(path) and not known:
                    raise RefsrError(
                        f"{path}: not a file of refsr; move it, or name another output",
                    )
            if os.path.lexists(self.retained) and retained.read(self.retained) is None:
                raise RefsrError(f"{self.retained}: not of refsr; move it, or name another output")
            for path in (self.place, self.partial, self.retained):
                require_writable_tree(path)
            if os.path.lexists(self._lock.key):
                require_writable(self._lock.key)

    @contextmanager
    def open(self, fingerprint: str) -> Iterator[None]:
        """Lock the output during the block.

        `partial` is missing, or holds what a killed run of the same `fingerprint` left. With an
        empty fingerprint nothing of a killed run is kept.
        """
        with _named(self.name):
            self.place.parent.mkdir(parents=True, exist_ok=True)
            known = self._lock.take("")
            try:
                self._restore()
                self._resume(fingerprint, str(known.get("fingerprint", "")))
                marker.require_own(self.place, self.stage)  # another run may have written it
                self._lock.write(self.stage, fingerprint)
                self._fingerprint = fingerprint
                self._take_back()
            except BaseException:
                self._lock.release(keep=bool(known))
                raise
        try:
            yield
        finally:
            self._lock.release(keep=os.path.lexists(self.partial) or self._is_unclean())

    def put_in_place(self, written: Path) -> None:
        """Mark `written` as this stage's, replace the old output, and remove resume points."""
        with _named(self.name):
            if written != self.partial:  # on another disk: it cannot be renamed
                atomic.remove(self.partial)
                atomic.copy(written, self.partial, RESUME_POINTS)
            if self.partial.is_dir():
                marker.write(self.partial, self.stage)
            atomic.flush(self.partial)
            marker.require_own(self.place, self.stage)
            # From here on `partial` may be the old output: it is resumed only if it is this folder.
            bound = self._fingerprint and _bound(self._fingerprint, self.partial)
            self._lock.write(self.stage, bound)
            atomic.replace(self.partial, self.place, self.aside)
            self._retain()
            for name in RESUME_POINTS:
                atomic.remove(self.place / name)

    def _retain(self) -> None:
        """Move the state of a finished training beside the output."""
        state = self.place / retained.STATE
        if retained.read(state):
            atomic.remove(self.retained)
            state.rename(self.retained)

    def _take_back(self) -> None:
        """Start from the state of a finished training of the same fingerprint, if there is one."""
        facts = retained.read(self.retained) or {}
        state = self.partial / retained.STATE
        if facts.get("fingerprint") == self._fingerprint and not os.path.lexists(state):
            self.partial.mkdir(exist_ok=True)
            self.retained.rename(state)

    def _resume(self, fingerprint: str, known: str) -> None:
        """Keep at `partial` what a killed run of this fingerprint left; remove anything else."""
        ours = bool(fingerprint and known)
        if ours and self._is_unclean() and known == _bound(fingerprint, self.place):
            atomic.remove(self.partial)
            self.place.rename(self.partial)
        elif not (ours and known in (fingerprint, _bound(fingerprint, self.partial))):
            atomic.remove(self.partial)

    def _is_unclean(self) -> bool:
        """Whether the output is in place, but resume points are still in it."""
        return any(os.path.lexists(self.place / name) for name in RESUME_POINTS)

    def _restore(self) -> None:
        if os.path.lexists(self.aside) and not marker.is_own(self.aside, self.stage):
            raise RefsrError(f"{self.aside}: not a file of refsr; move it, or name another output")
        atomic.restore(self.place, self.aside, self.partial)


def _bound(fingerprint: str, path: Path) -> str:
    """The fingerprint, bound to the folder now at a path; that of another folder differs."""
    return f"{fingerprint}@{path.stat().st_ino}" if path.exists() else ""


@contextmanager
def held(outputs: Mapping[str, Output], fingerprints: Mapping[str, str]) -> Iterator[None]:
    """Lock several outputs during the block."""
    with ExitStack() as stack:
        for key in sorted(outputs):
            stack.enter_context(outputs[key].open(fingerprints[key]))
        yield


def recover(path: Path) -> None:
    """Restore a finished folder that a killed replacement left aside."""
    place = Path(os.path.realpath(path))
    aside, key = atomic.sibling(place, ASIDE), atomic.sibling(place, KEY)
    if os.path.lexists(place) or not os.path.lexists(aside) or read_key(key) is None:
        return
    lock = Lock(key)
    lock.take(str(path))
    try:
        if marker.read(aside) is not None:
            atomic.restore(place, aside, atomic.sibling(place, SCRATCH))
    finally:
        lock.release(keep=os.path.lexists(atomic.sibling(place, SCRATCH)))


def check_apart(outputs: Mapping[str, Output], inputs: Mapping[str, Path]) -> None:
    """Check that outputs overlap no input, no other output, and not the current or home folder.

    Two paths overlap if they are equal, or one is inside the other.

    Args:
        outputs: By the option that names each, as `--curated`.
        inputs: Likewise; local paths only. Paths that do not exist are compared by name.

    Raises:
        RefsrError: Two of them overlap, after all links are followed.
    """
    seen: dict[str, Output] = {}
    for option, output in outputs.items():
        _check_homes(output)
        for other, path in inputs.items():
            _check_input(output, other, path)
        for other, before in seen.items():
            if any(_overlap(one, two) for one in output.paths for two in before.paths):
                what = f"overlaps the output {other} {before.place}"
                raise RefsrError(f"{output.name}: {what}; {_SEPARATE}")
        seen[option] = output


def _check_homes(output: Output) -> None:
    homes = {"the current folder": Path.cwd(), "the home folder": Path.home()}
    for what, home in homes.items():
        if _holds(output.place, home):
            raise RefsrError(f"{output.name}: is or holds {what}; {_SEPARATE}")


def _check_input(output: Output, option: str, path: Path) -> None:
    if _overlap(output.place, path):
        what = f"overlaps the input {option} {path}"
        raise RefsrError(f"{output.name}: {what}; {_SEPARATE}")
    if any(_overlap(scratch, path) for scratch in output.paths[1:]):
        what = f"its scratch {output.partial.name} overlaps {option} {path}"
        raise RefsrError(f"{output.name}: {what}; {_SEPARATE}")


def check_file(
    path: Path, inputs: Iterable[tuple[str, Path]], is_own: Callable[[Path], bool]
) -> None:
    """Check that an output file may be written.

    Args:
        path: The file to write.
        inputs: The paths that are read, each after the option that names it.
        is_own: Whether refsr wrote an existing file.

    Raises:
        RefsrError: It is one of the inputs, also through a link; a folder; or a file that refsr
            did not write.
    """
    require_short_names(Path(path_text(str(path))))
    place = real(path)
    require_folder(place.parent)
    if place.is_dir():
        raise RefsrError(f"{path}: cannot be written: it is a folder; name another file with -o")
    for option, other in inputs:
        if _holds(place, other):
            raise RefsrError(f"{path}: is the input {option} {other}; name another output")
    with file_errors_as_messages():
        if place.exists() and place.stat().st_size and not (place.is_file() and is_own(place)):
            raise RefsrError(
                f"{path}: exists, and refsr did not write it; "
                "delete it yourself if it is not needed, or name another file"
            )
        require_writable(place.parent)


def _overlap(one: Path, other: Path) -> bool:
    return _holds(one, other) or _holds(other, one)


def _holds(folder: Path, path: Path) -> bool:
    """Whether `path` is `folder` or inside it, by name after all links, and by inode."""
    outer, inner = real(folder), real(path)
    if outer == inner or outer in inner.parents:
        return True
    try:
        facts = outer.stat()
    except OSError:
        return False
    for place in (inner, *inner.parents):
        try:
            if os.path.samestat(facts, place.stat()):
                return True
        except OSError:
            continue
    return False


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Prefix errors of the block with the output's name."""
    try:
        with file_errors_as_messages():
            yield
    except RefsrError as error:
        raise RefsrError(f"{name}: {error}") from error
