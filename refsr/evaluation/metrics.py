"""The metrics, a function each. To add one, add a function; tables, report, card and plots follow.

A metric takes `Outputs` and returns a number per image, (N,). Its docstring is what the report says
of it. Formulas of pixels stand in `refsr.evaluation.image_quality`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from refsr.evaluation import image_quality

if TYPE_CHECKING:
    import torch

    from refsr.evaluation.outputs import Outputs

Measure = Callable[["Outputs"], "torch.Tensor"]


@dataclass(frozen=True)
class Metric:
    """A metric and all that is printed of it."""

    measure: Measure
    title: str  # of a column, with the unit
    digits: int  # after the point
    unit: str = ""  # behind a single number
    short: str = ""  # the title in table.txt and the model card, where it is another
    higher_is_better: bool = True
    network: str = ""  # that measures it, as `loss_networks` of a checkpoint names it
    every_condition: bool = False  # or the main ones only
    compared: bool = False  # paired differences, their tests, and the quality gate
    tables: tuple[str, ...] = ("summary", "main")  # of summary, main, more, paper

    def __post_init__(self) -> None:
        """Raises ValueError where a metric is compared but not of every condition."""
        if self.compared and not self.every_condition:
            raise ValueError(f"{self.title}: compared=True needs every_condition=True")

    @property
    def short_title(self) -> str:
        """The title where there is little room."""
        return self.short or self.title

    @property
    def direction(self) -> str:
        """Which way is better, "higher" or "lower"."""
        return "higher" if self.higher_is_better else "lower"

    @property
    def about(self) -> str:
        """What it measures, in a sentence or two."""
        return " ".join((self.measure.__doc__ or "").split())


METRICS: dict[str, Metric] = {}


def metric(title: str, digits: int, **details: Any) -> Callable[[Measure], Measure]:
    """Register a function as the metric of its name; `details` are the fields of `Metric`."""

    def register(measure: Measure) -> Measure:
        METRICS[measure.__name__] = Metric(measure, title, digits, **details)
        return measure

    return register


def in_table(name: str) -> list[str]:
    """The metrics of a table, in the order of registration."""
    return [key for key, each in METRICS.items() if name in each.tables]


@metric(
    "PSNR dB",
    2,
    unit="dB",
    every_condition=True,
    compared=True,
    tables=("summary", "main", "more"),
)
def psnr(outputs: Outputs) -> torch.Tensor:
    """Peak signal-to-noise ratio over all pixels of R, G and B, in dB."""
    return image_quality.psnr(outputs.sr, outputs.hr)


@metric("SSIM", 3, every_condition=True)
def ssim(outputs: Outputs) -> torch.Tensor:
    """Structural similarity, Gaussian window of 11×11 pixels, sigma 1.5, mean over R, G and B."""
    return image_quality.ssim(outputs.sr, outputs.hr)


@metric(
    "identity",
    4,
    unit="cosine",
    network="dlib",
    every_condition=True,
    compared=True,
    tables=("summary", "main", "more"),
)
def identity(outputs: Outputs) -> torch.Tensor:
    """Cosine between the embeddings of the output and of the true HR image, by dlib's face
    recognition network (ResNet-29, 128 numbers, trained on photos)."""
    return outputs.identity_similarity(outputs.truth.identity)


@metric(
    "identity to the reference",
    4,
    network="dlib",
    every_condition=True,
    tables=("more",),
)
def identity_ref(outputs: Outputs) -> torch.Tensor:
    """Cosine between the embeddings of the output and of the right reference."""
    return outputs.identity_similarity(outputs.truth.reference)


@metric("LR consistency dB", 2, unit="dB", every_condition=True, tables=("main", "more"))
def lr_psnr(outputs: Outputs) -> torch.Tensor:
    """PSNR of the reduced output against the LR image, 58.9 dB at most."""
    scale = outputs.hr.shape[-1] // outputs.lr.shape[-1]
    return image_quality.lr_psnr(outputs.sr, outputs.lr, scale)


@metric("VGG16-HED", 3, short="perceptual", network="vgg16_hed", higher_is_better=False)
def perceptual(outputs: Outputs) -> torch.Tensor:
    """Mean squared difference of unit-length features, conv1_2 to conv5_3 of the VGG16 inside HED
    (an edge detector fine-tuned from ImageNet weights). It is not LPIPS."""
    return outputs.feature_distance("vgg16_hed")


@metric(
    "EfficientNet-Lite0",
    3,
    network="efficientnet_lite0",
    higher_is_better=False,
    tables=("main",),
)
def efficientnet(outputs: Outputs) -> torch.Tensor:
    """Mean squared difference of unit-length features of EfficientNet-Lite0."""
    return outputs.feature_distance("efficientnet_lite0")


@metric("PSNR dB of Y, one pass", 2, unit="dB", tables=("paper",))
def psnr_y(outputs: Outputs) -> torch.Tensor:
    """PSNR of BT.601 luminance without the outer 8 pixels, in dB."""
    return image_quality.psnr_y(outputs.sr, outputs.hr)


@metric("SSIM of Y, one pass", 3, tables=("paper",))
def ssim_y(outputs: Outputs) -> torch.Tensor:
    """SSIM of BT.601 luminance without the outer 8 pixels."""
    return image_quality.ssim_y(outputs.sr, outputs.hr)


@metric("PSNR dB of Y, ensemble", 2, unit="dB", tables=("paper",))
def psnr_paper(outputs: Outputs) -> torch.Tensor:
    """PSNR of Y of the self-ensemble's output, in dB."""
    return image_quality.psnr_y(outputs.ensemble, outputs.hr)


@metric("SSIM of Y, ensemble", 3, tables=("paper",))
def ssim_paper(outputs: Outputs) -> torch.Tensor:
    """SSIM of Y of the self-ensemble's output."""
    return image_quality.ssim_y(outputs.ensemble, outputs.hr)


@metric("LPIPS", 3, network="lpips", higher_is_better=False, tables=("main",))
def lpips(outputs: Outputs) -> torch.Tensor:
    """Learned perceptual distance (Zhang et al., CVPR 2018), where its weights are given."""
    return outputs.networks.lpips(outputs.sr, outputs.hr)
