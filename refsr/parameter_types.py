"""The types of parameters: strict numbers with bounds, strings, names and paths."""

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, Strict, StrictBool

from refsr.io.paths import checked_path

MAX_COUNT = 10**9  # of steps and other counts that only cost time
MAX_PEOPLE = 400_000  # rendered identities are numbered n000000 to n999999, with gaps
MAX_BATCH = 8192
MIN_HR = 16  # pixels: at 16x, LR has one pixel
MAX_HR = 1024
# Side of HR in pixels: the window of SSIM must fit after `ssim_y` has cut a border of 8 pixels.
MIN_MEASURED = 32
MAX_NAME = 255  # characters of the name of a folder, which is the name of an identity
MAX_LIST = 2**23  # bytes of a file of identities
_CLASS = re.compile(r"n\d{6}", re.ASCII)
# Options of networks: the least and the greatest value of each; see the classes in refsr.models.
MODEL_OPTIONS = {
    "hr_size": (1, 4096),
    "scale": (1, 64),
    "width": (2, 1024),
    "blocks": (0, 64),
    "latent": (0, 1024),
    "heads": (1, 64),
}
FLAGS = ("attention", "align", "offsets")
CHOICES = {"mode": ("gaussian", "lr", "reference"), "deployed_sd": ("constant", "normal")}
SET_ELSEWHERE = ("model", "variant", "hr_size", "scale")  # options that `model` may not set
MATCH_CHANNELS = 48  # features that the attention of the compact variant compares


def _whole(value: object) -> object:
    """Convert a whole float to an integer; return any other value as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def exact_number(value: object) -> object:
    """A number for a choice of numbers; None for a boolean or a string, which could equal one."""
    return None if isinstance(value, bool | str) else _whole(value)


def _printable(text: str) -> str:
    if not text.isprintable() or text != text.strip():
        reason = "begins or ends with a space, or has a character that cannot be printed"
        raise ValueError(f"{text[:80]!r} {reason}")
    return text


def _path(value: object) -> object:
    if isinstance(value, str | Path):
        checked_path(str(value))
        _printable(str(value))
    return value


def _not_an_option(text: str) -> str:
    """Check that git and DVC read a string as a URL, a path or a revision."""
    if text.startswith("-"):
        raise ValueError(f"{text[:80]!r} begins with -, so git would read it as an option")
    if re.match(r"[A-Za-z0-9+.-]+::", text):
        helper = "names a git remote helper, which may run programs"
        raise ValueError(f"{text[:80]!r} {helper}; give a URL or a path")
    return text


def _repository(text: str) -> str:
    return checked_path(_not_an_option(text))


def _large_enough(side: int) -> int:
    if side < MIN_HR:
        raise ValueError(f"{side} pixels are too few for the networks; set {MIN_HR} or more")
    return side


def optional_path(value: str) -> str:
    """Check a path by the rules of refsr.io.paths; "" is allowed.

    Raises:
        ValueError: The path breaks a rule.
    """
    if value:
        _path(value)
    return value


def _model_name(name: str) -> str:
    """Check that MLflow and its URIs models:/NAME@ALIAS accept a name."""
    reserved = [character for character in "/:@%?#\\" if character in name]
    if reserved or name in (".", ".."):
        parts = " ".join(reserved) or name
        raise ValueError(f"{name!r} cannot be the name of a model: remove {parts}")
    return name


def _other_model(name: str) -> str:
    """Check that a name differs from the models and the conditions of `evaluate`."""
    if name in ("bicubic", "sisr", "refsr", "ref", "sharp"):
        reason = "is the name of a model or condition of the protocol"
        raise ValueError(f"{name} {reason}; give the other model another name")
    return name


def _folder_name(name: str) -> str:
    if "/" in name:
        raise ValueError(f"{name[:80]!r} has a slash; an identity is the name of one folder")
    return _printable(name)


def _names(line: str) -> list[str]:
    """The name in a line, which may have spaces, or several classes of VGGFace2."""
    words = line.split()
    return words if all(_CLASS.fullmatch(word) for word in words) else [line]


def words_of(path: str) -> list[str]:
    """The names in a file of identities, one per line.

    Raises:
        ValueError: The file cannot be read.
    """
    try:
        checked_path(path)
        with Path(path).open("rb") as file:
            data = file.read(MAX_LIST + 1)
        if len(data) > MAX_LIST:
            raise ValueError(f"more than {MAX_LIST} bytes")
        lines = data.decode("utf-8-sig").splitlines()
        return [name for line in lines for name in _names(line.strip())]
    except (OSError, ValueError) as error:
        expected = "`all`, a list of identities, or a file that lists one per line"
        raise ValueError(f"{path[:120]}: cannot be read; set {expected}") from error


Whole = Annotated[int, BeforeValidator(_whole), Strict()]
Real = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Seed = Annotated[Whole, Field(ge=0, lt=2**32)]  # NumPy refuses less, PyTorch more
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
ModelName = Annotated[
    str,
    Field(min_length=1, max_length=200),
    AfterValidator(_printable),
    AfterValidator(_model_name),
]
ModelUri = Annotated[Text, Field(pattern=r"^models:/[^/@:]+[/@][^/@:]+$")]
OtherModel = Annotated[
    str,
    Field(pattern="^[a-z0-9]+$", max_length=40),
    AfterValidator(_other_model),
]
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
            raise ValueError(f"option {name} is not an option of `model`: {_OWNER[name]}")
        check_option(name, value)
    return options


def check_option(name: str, value: object) -> None:
    """Check the value of an option of a network.

    Raises:
        ValueError: The value is not one of the option's choices, or out of its bounds.
    """
    text = str(value)[:80]
    if name in FLAGS and not isinstance(value, bool):
        raise ValueError(f"option {name}: true or false is expected, not {text!r}")
    if name in CHOICES and value not in CHOICES[name]:
        raise ValueError(f"option {name} {text!r} is not one of {', '.join(CHOICES[name])}")
    if name not in MODEL_OPTIONS:
        return
    least, most = MODEL_OPTIONS[name]
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        bounds = f"a whole number from {least} to {most}"
        raise ValueError(f"option {name}: {bounds} is expected, not {text}")


def heads_fault(width: int, heads: int) -> str:
    """Why the compact variant cannot have this many heads of attention; "" if it can."""
    channels = width + 4 * (width * 3 // 4)
    counts = range(1, MODEL_OPTIONS["heads"][1] + 1)
    fitting = [each for each in counts if MATCH_CHANNELS % each == 0 and channels % each == 0]
    if heads in fitting:
        return ""
    choices = ", ".join(map(str, fitting))
    return f"{heads} heads do not fit width {width}; set heads to one of {choices}"


Options = Annotated[  # 16.0 is read as 16 here too
    dict[Annotated[str, Field(max_length=100)], Option],
    Field(max_length=100),
    AfterValidator(_bounded_options),
]
