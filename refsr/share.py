"""A share of the work of a stage: part I of N."""

import re
import zlib
from typing import NamedTuple

from refsr.errors import RefsrError


class Share(NamedTuple):
    """The part `number` (from 1) of `total`."""

    number: int
    total: int

    def __str__(self) -> str:
        """As the option --shard gives it: `2/8`."""
        return f"{self.number}/{self.total}"

    def holds(self, identity: str) -> bool:
        """Whether the identity belongs to this part, by its name alone."""
        return zlib.crc32(identity.encode()) % self.total == self.number - 1

    def slice(self, count: int) -> slice:
        """The run of this part among `count` things in a row; the parts cover them in order."""
        start, stop = (count * edge // self.total for edge in (self.number - 1, self.number))
        return slice(start, stop)


WHOLE = Share(1, 1)


def parse_share(text: str) -> Share:
    """`2/8` as a Share. Raises RefsrError for any other text."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
    if match and 1 <= int(match[1]) <= int(match[2]):
        return Share(int(match[1]), int(match[2]))
    raise RefsrError(f"--shard {text}: I/N is expected, with I from 1 to N, e.g. 1/8 ... 8/8")
