"""The types of parameters: strict numbers with bounds, texts, names and paths."""

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, Strict, StrictBool

from refsr.io.paths import checked_path

MAX_COUNT = 10**9  # of steps and the like: of what costs time alone
MAX_PEOPLE = 400_000  # identities are numbered n000000 to n999999, some of them with gaps
MAX_BATCH = 8192
MIN_HR = 16  # pixels: 16x leaves one of LR
MAX_HR = 1024
MIN_MEASURED = 32  # HR side in pixels: SSIM's window must fit after the 8-pixel border of `ssim_y` is cut
MAX_NAME = 255  # characters of a folder, which an identity is named by
MAX_LIST = 2**23  # bytes of a file of identities
_CLASS = re.compile(r"n\d{6}", re.ASCII)
# Options of networks by name, the least and the most of each; see the classes in refsr.models.
MODEL_OPTIONS = {
    "hr_size": (1, 4096),
    "scale": (1, 64),
    "width": (2, 1024),
    "blocks": (0, 64),
    "latent": (0, 1024),
    "heads": (1, 64),
}
FLAGS = ("attention",)
CHOICES = {"mode": ("gaussian", "lr", "reference"), "deployed_sd": ("constant", "normal")}
SET_ELSEWHERE = ("model", "variant", "hr_size", "scale")  # options that are no `model` options: the flow knows them
_COMPACT = ("width", "blocks", "latent")
# (model, variant) -> the options that `train_*.model` may name.
VARIANT_OPTIONS: dict[tuple[str, str], tuple[str, ...]] = {
    ("sisr", "compact"): _COMPACT,
    ("refsr", "compact"): (*_COMPACT, "heads", "attention"),
    ("sisr", "release"): ("deployed_sd",),
    ("refsr", "release"): ("mode",),
    ("sisr", "figure"): ("deployed_sd",),
    ("refsr", "figure"): ("mode",),
}
MATCH_CHANNELS = 48  # features that attention of the compact variant compares


def _whole(value: object) -> object:
    """A whole float as an integer; everything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def exact_number(value: object) -> object:
    """A number for a choice between numbers; None for a boolean or a text, which would count as one."""
    return None if isinstance(value, bool | str) else _whole(value)


def _printable(text: str) -> str:
    if not text.isprintable() or text != text.strip():
        raise ValueError(f"{text[:80]!r} begins or ends with a space, or holds what cannot be printed")
    return text


def _path(value: object) -> object:
    if isinstance(value, str | Path):
        checked_path(str(value))
        _printable(str(value))
    return value


def _not_an_option(text: str) -> str:
    """A text that git and DVC take for a place or a revision, and for nothing else."""
    if text.startswith("-"):
        raise ValueError(f"{text[:80]!r} begins with -, so that git would take it for an option")
    if re.match(r"[A-Za-z0-9+.-]+::", text):
        raise ValueError(f"{text[:80]!r} names a git remote helper, which may run programs; give a URL or a path")
    return text


def _repository(text: str) -> str:
    return checked_path(_not_an_option(text))


def _large_enough(side: int) -> int:
    if side < MIN_HR:
        raise ValueError(f"{side} is too small an image for the networks; at least {MIN_HR} pixels")
    return side


def optional_path(value: str) -> str:
    """A path that passes the rule of refsr.io.paths, or an empty text. Raises ValueError."""
    if value:
        _path(value)
    return value


def _model_name(name: str) -> str:
    """A name that MLflow and its URIs models:/NAME@ALIAS can have."""
    taken = [character for character in "/:@%?#\\" if character in name]
    if taken or name in (".", ".."):
        raise ValueError(f"{name!r} cannot be a model's name: leave out {' '.join(taken) or name}")
    return name


def _other_model(name: str) -> str:
    """A name that `evaluate` can give another model: none of its own models, and no arm of theirs begins with it."""
    if name in ("bicubic", "sisr", "refsr", "ref"):
        raise ValueError(f"{name} is a model or arm of the protocol itself; give the other model another name")
    return name


def _folder_name(name: str) -> str:
    if "/" in name:
        raise ValueError(f"{name[:80]!r} has a slash; an identity is the name of one folder")
    return _printable(name)


def _names(line: str) -> list[str]:
    """The name in a line, which may have spaces; of VGGFace2's classes there may be several."""
    words = line.split()
    return words if all(_CLASS.fullmatch(word) for word in words) else [line]


def words_of(path: str) -> list[str]:
    """The names in a file of identities, one to a line. Raises ValueError where it cannot be read."""
    try:
        checked_path(path)
        with Path(path).open("rb") as file:
            data = file.read(MAX_LIST + 1)
        if len(data) > MAX_LIST:
            raise ValueError(f"more than {MAX_LIST} bytes")
        return [name for line in data.decode("utf-8-sig").splitlines() for name in _names(line.strip())]
    except (OSError, ValueError) as error:
        raise ValueError(f"{path[:120]}: is neither `all` nor a list, nor a file of one that can be read") from error


Whole = Annotated[int, BeforeValidator(_whole), Strict()]
Real = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Seed = Annotated[Whole, Field(ge=0, lt=2**32)]  # NumPy refuses less, PyTorch what comes of more
Positive = Annotated[Whole, Field(ge=1, le=MAX_COUNT)]
Count = Annotated[Whole, Field(ge=0, le=MAX_COUNT)]
People = Annotated[Whole, Field(ge=1, le=MAX_PEOPLE)]
BatchSize = Annotated[Whole, Field(ge=1, le=MAX_BATCH)]
HrSize = Annotated[Whole, Field(ge=1, le=MAX_HR), AfterValidator(_large_enough)]
Share = Annotated[Real, Field(ge=0, le=1)]
Weight = Annotated[Real, Field(ge=0, le=1e9)]
Difference = Annotated[Real, Field(ge=-1000, le=1000)]
Text = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_printable)]
FilePath = Annotated[Path, BeforeValidator(_path)]
Revision = Annotated[Text, AfterValidator(_not_an_option)]
Repository = Annotated[Text, AfterValidator(_repository)]
ModelName = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable), AfterValidator(_model_name)]
OtherModel = Annotated[str, Field(pattern="^[a-z0-9]+$", max_length=40), AfterValidator(_other_model)]
Identity = Annotated[str, Field(min_length=1, max_length=MAX_NAME), AfterValidator(_folder_name)]
Option = Annotated[
    StrictBool | Whole | Real | Annotated[str, Field(max_length=100), AfterValidator(_printable)],
    Field(union_mode="left_to_right"),
]


_OWNER = {
    "model": "the stage names it; leave it out",
    "variant": "set train_sisr.variant",
    "hr_size": "set curate.hr_size",
    "scale": "set train_sisr.scale",
}


def _bounded_options(options: dict[str, Any]) -> dict[str, Any]:
    for name, value in options.items():
        if name in SET_ELSEWHERE:
            raise ValueError(f"option {name} is no option of `model`: {_OWNER[name]}")
        check_option(name, value)
    return options


def check_option(name: str, value: object) -> None:
    """Raises ValueError where an option of a network is none of its values, or lies outside its bounds."""
    if name in FLAGS and not isinstance(value, bool):
        raise ValueError(f"option {name}: true or false is expected, not {str(value)[:80]!r}")
    if name in CHOICES and value not in CHOICES[name]:
        raise ValueError(f"option {name} {str(value)[:80]!r} is not one of {', '.join(CHOICES[name])}")
    if name not in MODEL_OPTIONS:
        return
    least, most = MODEL_OPTIONS[name]
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"option {name}: a whole number from {least} to {most} is expected, not {str(value)[:80]}")


def heads_fault(width: int, heads: int) -> str:
    """Why the attention of the compact variant cannot have so many heads at this width; "" where it can."""
    carried = width + 4 * (width * 3 // 4)
    divisors = [
        count for count in range(1, MODEL_OPTIONS["heads"][1] + 1) if not (MATCH_CHANNELS % count or carried % count)
    ]
    if heads in divisors:
        return ""
    return f"{heads} heads do not fit width {width}; set heads to one of {', '.join(map(str, divisors))}"


Options = Annotated[  # 16.0 is taken for 16 here too
    dict[Annotated[str, Field(max_length=100)], Option], Field(max_length=100), AfterValidator(_bounded_options)
]
