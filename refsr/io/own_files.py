"""Read files that another stage wrote; a damaged one is one message with the stage to run again.

A checksum is [bytes, CRC-32]. It detects damage, not forgery.
"""

import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refsr.errors import RefsrError
from refsr.io.exhausted import lacks_memory_for

if TYPE_CHECKING:
    import pandas as pd

_PIECE = 2**20  # bytes read at a time
_SHOWN = 200  # characters of a reason in a message
_SEAL = "crc32"  # the key of a document's own checksum

Checksum = list[int]
Columns = Mapping[str, Callable[[Any], bool]]


def damaged(path: Path, stage: str, why: str) -> RefsrError:
    """The error for a file that must be written again by `stage`, a command."""
    reason = next(iter(why.splitlines()), "")[:_SHOWN]
    return RefsrError(f"{path}: missing or damaged ({reason}); run the stage `{stage}` again")


@contextmanager
def reading(path: Path, stage: str) -> Iterator[None]:
    """Raise RefsrError, naming file and stage, for any error of a reader in the block."""
    try:
        yield
    except RefsrError:
        raise
    except Exception as error:  # readers raise many types for a damaged file
        if path.is_file() and lacks_memory_for(error, path):
            raise
        raise damaged(path, stage, str(error) or type(error).__name__) from error


def read_text(path: Path, stage: str) -> str:
    """The text of a UTF-8 file of `stage`. Raises RefsrError where it is missing or damaged."""
    with reading(path, stage):
        return path.read_text(encoding="utf-8")


def read_json(path: Path, stage: str) -> dict[str, Any]:
    """The JSON object in a file of `stage`. Raises RefsrError where it is missing or damaged."""
    with reading(path, stage):
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict):
            raise TypeError("not a JSON object")
        return document


def seal(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with a checksum of itself."""
    return {**document, _SEAL: _code(document)}


def is_sealed(document: Mapping[str, Any]) -> bool:
    """Whether a document has the checksum with which it was sealed."""
    content = {key: value for key, value in document.items() if key != _SEAL}
    return bool(document.get(_SEAL) == _code(content))


def read_sealed(path: Path, stage: str) -> dict[str, Any]:
    """`read_json` of a sealed document. Raises RefsrError also where its checksum differs."""
    document = read_json(path, stage)
    if not is_sealed(document):
        raise damaged(path, stage, "it does not match its own checksum")
    return document


def _code(document: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(document, sort_keys=True).encode())


def read_table(
    path: Path,
    needed: Columns,
    stage: str,
    columns: Sequence[str] | None = None,
    categories: Sequence[str] = (),
) -> "pd.DataFrame":
    """A Parquet table that `stage` wrote.

    Args:
        path: The file.
        needed: Required columns, each with a check of its type.
        stage: The command that writes it.
        columns: Those to read; None reads all.
        categories: Of these, texts that are read as categories.

    Raises:
        RefsrError: It is missing or damaged, or lacks a column.
    """
    with reading(path, stage):
        table = read_parquet(path, columns, categories if columns else ())
        for name, is_right in needed.items():
            if name not in table or not is_right(table[name].dtype):
                raise TypeError(f"column {name} is missing or of another type")
        return table


def read_parquet(
    path: Path, columns: Sequence[str] | None = None, categories: Sequence[str] = ()
) -> "pd.DataFrame":
    """`pandas.read_parquet`; memory that Arrow would keep, twice the table, is free afterwards.

    With `categories`, these texts are read as such, and what Arrow read is freed on the way.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    table: pd.DataFrame
    names = None if columns is None else list(columns)
    if categories:
        read = pq.read_table(path, columns=names, read_dictionary=list(categories))
        table = read.to_pandas(split_blocks=True, self_destruct=True)
        del read
    else:
        table = pd.read_parquet(path, columns=names)
    pa.default_memory_pool().release_unused()
    return table


def write_parquet(table: "pd.DataFrame", path: Path, row_group_size: int | None = None) -> None:
    """`to_parquet` without the row labels; frees memory as `read_parquet` does."""
    import pyarrow as pa

    table.to_parquet(path, index=False, row_group_size=row_group_size)
    pa.default_memory_pool().release_unused()


def is_text(dtype: Any) -> bool:
    """Whether a column holds texts, or categories that are texts."""
    import pandas as pd

    categories = getattr(dtype, "categories", None)
    return bool(pd.api.types.is_string_dtype(dtype if categories is None else categories.dtype))


def columns(path: Path, stage: str) -> list[str]:
    """The names of a Parquet table's columns. Raises RefsrError where it is damaged."""
    import pyarrow.parquet as pq

    with reading(path, stage):
        return list(pq.read_schema(path).names)


def checksum(path: Path) -> Checksum:
    """The checksum of a file. Raises OSError where it cannot be read."""
    size, code = 0, 0
    with path.open("rb", buffering=0) as file:
        while data := file.read(_PIECE):
            size, code = size + len(data), zlib.crc32(data, code)
    return [size, code]


def is_whole(path: Path, known: object, digest: Callable[[Path], Checksum] = checksum) -> bool:
    """Whether a file has this checksum; one of another size is not read. Raises PermissionError."""
    if not isinstance(known, list):
        return False
    try:
        return [path.stat().st_size] == known[:1] and digest(path) == known
    except PermissionError:
        raise
    except OSError:
        return False
