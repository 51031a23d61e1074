"""Names of people and files as reports show them: hashed, where `curate.anonymous` asks for it."""

import hashlib
import hmac
import json
from pathlib import Path

import pandas as pd

_DIGITS = 10  # hexadecimal, of a name that is shown


class Names:
    """Shows names as they are, or hashed with a key.

    The key comes from the images' checksums, so that nobody who lacks the set can try names.
    """

    def __init__(self, key: bytes = b"") -> None:
        self._key = key

    def person(self, name: str) -> str:
        """The name of an identity."""
        return f"person-{self._hash(name)}" if self._key else name

    def file(self, name: str) -> str:
        """The name of a source file."""
        return f"image-{self._hash(name)}" if self._key else name

    def shown(self, table: pd.DataFrame) -> pd.DataFrame:
        """A table whose columns identity and source are as they are shown."""
        if not self._key:
            return table
        shows = {"identity": self.person, "source": self.file}
        known = {name: table[name].map(show) for name, show in shows.items() if name in table}
        return table.assign(**known)

    def _hash(self, name: str) -> str:
        return hmac.new(self._key, str(name).encode(), hashlib.sha256).hexdigest()[:_DIGITS]


def names_of(folder: Path, manifest: pd.DataFrame) -> Names:
    """How the names of a curated set are shown, by its summary."""
    if not is_anonymous(folder):
        return Names()
    digests = manifest["sha256"] if "sha256" in manifest else manifest["identity"]
    text = "".join(sorted(digests.astype(str)))
    return Names(hashlib.sha256(text.encode()).digest())


def is_anonymous(folder: Path) -> bool:
    """Whether the names of a curated set are not to be shown."""
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        return bool(summary.get("anonymous"))
    except (OSError, ValueError, AttributeError):
        return False
