"""Hand-written evaluations, in the form of metrics.json."""

from typing import Any

CONDITIONS = ("bicubic", "sisr", "ref_none", "ref_wrong", "ref_right")
OTHERS = ("bicubic", "sisr", "none", "wrong")


def evaluation(psnr: float = 26.0, identity: float = 0.8) -> dict[str, Any]:
    """A model 2 dB and 0.25 above everything else,
    with an interval of 0.5 dB and 0.05 to either side.
    """
    metrics: dict[str, Any] = {
        measure: {
            condition: _interval(mean + (rise if condition == "ref_right" else 0), half)
            for condition in CONDITIONS
        }
        for measure, mean, rise, half in (
            ("psnr", psnr - 2, 2.0, 0.5),
            ("identity", identity - 0.25, 0.25, 0.05),
            ("ssim", 0.6, 0.1, 0.05),
            ("perceptual", 0.5, -0.1, 0.05),
        )
    }
    metrics["difference"] = {
        f"right_minus_{other}": {"psnr": _interval(2.0, 0.5), "identity": _interval(0.25, 0.05)}
        for other in OTHERS
    }
    metrics["gap"] = {
        share: {"images": 4, "people": 2, "identity": _interval(0.8, 0.1)}
        for share in ("ref_right", "right_minus_wrong")
    }
    return metrics


def _interval(mean: float, half: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - half, "high": mean + half}
