"""The results as a plain table, the same in the terminal, in table.txt and in a README."""

from collections.abc import Mapping
from typing import Any

from refsr.evaluation.conditions import DIFFERENCES, MAIN

NAMES = {name: arm.title for name, arm in MAIN.items()}
COLUMNS = {"psnr": ("PSNR dB", 2), "ssim": ("SSIM", 3), "identity": ("identity", 4), "perceptual": ("perceptual", 3)}
LOWER_IS_BETTER = ("perceptual", "efficientnet", "lpips")
COLUMN, FIRST = 26, 30


def table_text(metrics: Mapping[str, Any]) -> str:
    """The arms and the paired differences of a metrics.json, as lines of ASCII."""
    lines = [
        about(metrics),
        "",
        _line(
            "", [f"{name} ({'lower' if key in LOWER_IS_BETTER else 'higher'})" for key, (name, _) in COLUMNS.items()]
        ),
    ]
    lines += [
        _line(NAMES[arm], [cell(metrics[key][arm], COLUMNS[key][1]) for key in COLUMNS]) for arm in metrics["psnr"]
    ]
    lines += ["", _line("right reference minus", ["PSNR dB", "identity"])]
    for name, row in metrics["difference"].items():
        lines.append(_line(NAMES[DIFFERENCES[name]], [cell(row["psnr"], 2, "+"), cell(row["identity"], 4, "+")]))
    scale = metrics["identity_scale"]
    lines += [
        "",
        f"identity of true images: same person {scale['same_person']:.4f}, strangers {scale['strangers']:.4f}",
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def about(metrics: Mapping[str, Any]) -> str:
    """What was measured, in one line."""
    return (
        "{identities} held-out identities, {images} images, {lr_size}x{lr_size} -> {hr_size}x{hr_size}; "
        "mean [95% interval over identities]".format(**metrics["data"])
    )


def cell(interval: Mapping[str, float], digits: int, sign: str = "") -> str:
    """`mean [low, high]` with this many digits after the point."""
    mean, low, high = (format(interval[key], f"{sign}.{digits}f") for key in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def _line(name: str, cells: list[str]) -> str:
    return name.ljust(FIRST) + "".join(text.ljust(COLUMN) for text in cells)
