"""An output of a stage: what it may replace, where it is written meanwhile, and how it gets to its place."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from refsr.errors import RefsrError
from refsr.io import atomic, marker
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


class Output:
    """One output folder, from its check to the moment it stands in its place.

    `place` is the path with a link followed, `partial` where the stage writes. Methods raise RefsrError.
    """

    def __init__(self, stage: str, option: str, path: Path) -> None:
        self.stage = stage
        self.name = f"{stage}: output {option} {path}"
        with _named(self.name):
            require_short_names(Path(path_text(str(path))))
            self.place = path if path.name not in ("", "..") and not path.is_symlink() else real(path)
            if not self.place.name:
                raise RefsrError("is or holds every folder there is; name a folder of its own")
        self.partial = atomic.sibling(self.place, SCRATCH)
        self.aside = atomic.sibling(self.place, ASIDE)
        self._fingerprint = ""
        self._lock = Lock(atomic.sibling(self.place, KEY))

    @property
    def paths(self) -> list[Path]:
        """All that this output writes to."""
        return [self.place, self.partial, self.aside, self._lock.key]

    def check(self) -> None:
        """Refuse, without a change, what this stage may not replace."""
        with _named(self.name):
            require_folder(self.place.parent)
            marker.require_own(self.place, self.stage)
            known = read_key(self._lock.key) is not None
            for path in (self.partial, self.aside):
                if os.path.lexists(path) and not known:
                    raise RefsrError(f"{path}: not a file of refsr; move it, or name another output")
            require_writable_tree(self.place)
            require_writable_tree(self.partial)
            if os.path.lexists(self._lock.key):
                require_writable(self._lock.key)

    @contextmanager
    def open(self, fingerprint: str) -> Iterator[None]:
        """Hold the output; `partial` is empty, or what a killed run of the same `fingerprint` left.

        An empty fingerprint keeps nothing of a killed run.
        """
        with _named(self.name):
            self.place.parent.mkdir(parents=True, exist_ok=True)
            known = self._lock.take("")
            try:
                self._restore()
                self._resume(fingerprint, str(known.get("fingerprint", "")))
                marker.require_own(self.place, self.stage)  # another run may just have put it there
                self._lock.write(self.stage, fingerprint)
                self._fingerprint = fingerprint
            except BaseException:
                self._lock.release(keep=bool(known))
                raise
        try:
            yield
        finally:
            self._lock.release(keep=os.path.lexists(self.partial) or self._is_unclean())

    def put_in_place(self, written: Path) -> None:
        """Mark `written` as this stage's and put it in the place of the output before it; no resume point stays."""
        with _named(self.name):
            if written != self.partial:  # on another disk, from which nothing can be renamed to here
                atomic.remove(self.partial)
                atomic.copy(written, self.partial, RESUME_POINTS)
            if self.partial.is_dir():
                marker.write(self.partial, self.stage)
            atomic.flush(self.partial)
            marker.require_own(self.place, self.stage)
            # From here on `partial` may be the old output: it is resumed only if it is still this very folder.
            self._lock.write(self.stage, self._fingerprint and _vouched(self._fingerprint, self.partial))
            atomic.replace(self.partial, self.place, self.aside)
            for name in RESUME_POINTS:
                atomic.remove(self.place / name)

    def _resume(self, fingerprint: str, known: str) -> None:
        """Have at `partial` what a killed run of this fingerprint left, or nothing."""
        ours = bool(fingerprint and known)
        if ours and self._is_unclean() and known == _vouched(fingerprint, self.place):  # in place, but unclean
            atomic.remove(self.partial)
            self.place.rename(self.partial)
        elif not (ours and known in (fingerprint, _vouched(fingerprint, self.partial))):
            atomic.remove(self.partial)

    def _is_unclean(self) -> bool:
        """Whether the output is in place with what a killed run goes on from still in it."""
        return any(os.path.lexists(self.place / name) for name in RESUME_POINTS)

    def _restore(self) -> None:
        if os.path.lexists(self.aside) and not marker.is_own(self.aside, self.stage):
            raise RefsrError(f"{self.aside}: not a file of refsr; move it, or name another output")
        atomic.restore(self.place, self.aside, self.partial)


def _vouched(fingerprint: str, path: Path) -> str:
    """The fingerprint, bound to what stands at a path now; another folder there does not match."""
    return f"{fingerprint}@{path.stat().st_ino}" if path.exists() else ""


@contextmanager
def held(outputs: Mapping[str, Output], fingerprints: Mapping[str, str]) -> Iterator[None]:
    """Hold several outputs at once."""
    with ExitStack() as stack:
        for key in sorted(outputs):
            stack.enter_context(outputs[key].open(fingerprints[key]))
        yield


def recover(path: Path) -> None:
    """Bring back a finished folder that a kill left aside in the midst of its replacement."""
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
    """Refuse outputs that overlap an input or another output, and such as hold the present folder or a home.

    They overlap if they are the same, or one lies in the other.

    Args:
        outputs: By the option that names each, as `--curated`.
        inputs: Likewise; local paths only. What does not exist yet is compared by its name.

    Raises:
        RefsrError: Two of them overlap, after all links are followed.
    """
    homes = {"the present folder": Path.cwd(), "the home folder": Path.home()}
    seen: dict[str, Output] = {}
    for option, output in outputs.items():
        for what, home in homes.items():
            if _holds(output.place, home):
                raise RefsrError(f"{output.name}: is or holds {what}; name a folder of its own")
        for other, path in inputs.items():
            if _overlap(output.place, path):
                raise RefsrError(f"{output.name}: overlaps the input {other} {path}; name a folder apart from it")
            if any(_overlap(scratch, path) for scratch in output.paths[1:]):
                raise RefsrError(
                    f"{output.name}: its scratch {output.partial.name} overlaps {other} {path}; name another"
                )
        for other, before in seen.items():
            if any(_overlap(one, two) for one in output.paths for two in before.paths):
                raise RefsrError(
                    f"{output.name}: overlaps the output {other} {before.place}; name a folder apart from it"
                )
        seen[option] = output


def check_file(path: Path, inputs: Mapping[str, Path], is_own: Callable[[Path], bool]) -> None:
    """Refuse an output file that is one of `inputs`, by a link too, a folder, or a file that refsr did not write.

    Args:
        path: The file to write.
        inputs: What is read, by the option that names it.
        is_own: Says of an existing file whether refsr wrote it.

    Raises:
        RefsrError: See above.
    """
    require_short_names(Path(path_text(str(path))))
    place = real(path)
    require_folder(place.parent)
    if place.is_dir():
        raise RefsrError(f"{path}: cannot be written: it is a folder; name another file with -o")
    for option, other in inputs.items():
        if _holds(place, other):
            raise RefsrError(f"{path}: is the input {option} {other}; name another output")
    with file_errors_as_messages():
        if place.exists() and place.stat().st_size and not (place.is_file() and is_own(place)):
            raise RefsrError(f"{path}: exists, and refsr did not write it; remove it yourself, or name another file")
        require_writable(place.parent)


def _overlap(one: Path, other: Path) -> bool:
    return _holds(one, other) or _holds(other, one)


def _holds(folder: Path, path: Path) -> bool:
    """Whether `path` is `folder` or lies in it, by name after all links, and by what the disk says they are."""
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
    """Errors of the block, with the output's name before them."""
    try:
        with file_errors_as_messages():
            yield
    except RefsrError as error:
        raise RefsrError(f"{name}: {error}") from error
