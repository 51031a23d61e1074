"""Every table of an evaluation, made from metrics.json alone; as Markdown here, as HTML in the report."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from refsr.evaluation.conditions import DIFFERENCES, OTHERS
from refsr.evaluation.scoring import NETWORKS
from refsr.evaluation.slices import TITLES as SLICES
from refsr.reporting.summary import LOWER_IS_BETTER, NAMES, about, cell

Metrics = Mapping[str, Any]

COLUMNS = {  # metric -> its title, and digits after the point
    "psnr": ("PSNR dB", 2),
    "ssim": ("SSIM", 3),
    "identity": ("identity", 4),
    "identity_ref": ("identity to the reference", 4),
    "lr_psnr": ("LR consistency dB", 2),
    "perceptual": ("VGG16-HED", 3),
    "efficientnet": ("EfficientNet-Lite0", 3),
    "lpips": ("LPIPS", 3),
    "psnr_paper": ("PSNR dB of Y, ensemble", 2),
    "ssim_paper": ("SSIM of Y, ensemble", 3),
    "psnr_y": ("PSNR dB of Y, one pass", 2),
    "ssim_y": ("SSIM of Y, one pass", 3),
}
TRUE = "true images"
PLAIN = (
    "Protocol `plain`: all pixels of R, G and B. Identity is the cosine of dlib's embeddings to the true image; "
    "VGG16-HED and EfficientNet-Lite0 are distances of their features; LR consistency is the PSNR of the reduced "
    "output against the LR image, 58.9 dB at most."
)
PAPER = (
    "Protocol `paper` (Liu et al., IEEE Access 2019): BT.601 luminance, the outer 8 pixels cut off, SSIM 11x11 with "
    "sigma 1.5, the mean output of 4 rotations x mirror. Beside it the same in one pass: the rotations cost where a "
    "network was never shown a turned face."
)
DIFFERENCE = (
    "Paired differences. p: sign-flip test over identities (all sign patterns up to 13 identities, else 10,000 drawn, "
    "so that p is at least 0.0001), after Holm's correction over all tests of this table."
)
BREAK_EVEN = (
    "The share of wrong references at which giving one is no better than giving none: 0 where the right one does not "
    "help, 1 where a wrong one does not hurt."
)
MORE_ARMS = (
    "More ways to give a reference, measured by fewer judges; on the right the paired difference to RefSR with the "
    "right reference on the same images, p after Holm's correction over this table. Several references are the "
    "person's reference and other images, never the held-out one; only images of people who have enough take part."
)
VERIFICATION = (
    "Is it the same person? Outputs as probes against the references of all test people: area under the ROC curve, and "
    "true accept rate at a false accept rate of 1e-2. The right reference is itself in that gallery, which favours its "
    "arm; `other photos` is a gallery of everyone's other true images, which no main arm was given. Impostors are "
    "taken as they are; the intervals are over the people whose pairs are genuine."
)
KID = (
    "Kernel distance (KID's estimator and kernel) to {reference_set}. Features are VGG16-HED's conv5_3, averaged over "
    "places and brought to one length, not Inception's: comparable within this table only. Mean and standard deviation "
    "over 100 subsets of at most 100 images."
)
SAMPLES = (
    "RefSR with the right reference: {samples} samples at temperature 1 of each of {images} images, one of a person. "
)
NO_SAMPLES = "This network draws no samples: its output is a function of its input. "
ACTIVE = "A unit is active where its posterior mean, less the prior's, varies by more than 0.01 over the images."
SLICE = (
    "RefSR with the right reference; gain is its identity minus that with a wrong one. The last line is the gap "
    "between two groups, with its interval. Groups of fewer than three people are left out."
)


@dataclass(frozen=True)
class Table:
    """A titled table of text, and what must be known to read it."""

    title: str
    note: str
    header: list[str]
    rows: list[list[str]] = field(default_factory=list)


def tables(metrics: Metrics) -> list[Table]:
    """All tables that these numbers fill, in reading order."""
    made = [
        *_main(metrics),
        *_differences(metrics),
        *_paper(metrics),
        *_other_arms(metrics),
        *_verification(metrics),
        *_kid(metrics),
        *_samples(metrics),
        *_slices(metrics),
    ]
    return [table for table in made if table.rows]


def markdown(metrics: Metrics) -> str:
    """The tables as a Markdown page."""
    titles = {"sisr": "SISR", "refsr": "RefSR"}
    steps = [f" {titles.get(name, name)} had {count} steps of training." for name, count in metrics["steps"].items()]
    parts = [f"# Results\n\nPrinted by `python -m refsr show --markdown`: {about(metrics)}.{''.join(steps)}\n"]
    for table in tables(metrics):
        lines = [table.header, ["---"] * len(table.header), *table.rows]
        rows = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        parts.append(f"## {table.title}\n\n{table.note}\n\n{rows}\n")
    return "\n".join(parts)


def column(metrics: Metrics, key: str) -> str:
    """A metric's title, which way is better, and whether its network was in the training loss."""
    title = f"{COLUMNS[key][0]} ({'lower' if key in LOWER_IS_BETTER else 'higher'})"
    return f"{title}, was the loss" if was_the_loss(metrics, key) else title


def was_the_loss(metrics: Metrics, key: str) -> bool:
    """Whether the network that measures `key` was in the training loss, as far as the checkpoint says."""
    return NETWORKS.get(key) in metrics["loss_networks"].split(", ")


def _main(metrics: Metrics) -> Iterator[Table]:
    keys = ("psnr", "ssim", "identity", "perceptual", "efficientnet", "lpips", "lr_psnr")
    found = [key for key in keys if key in metrics]
    known = metrics["loss_networks"] != "unknown"
    loss = f"In the training loss: {metrics['loss_networks']}." if known else "The checkpoint does not name its loss."
    absent = "" if "sisr" in metrics["psnr"] else " There is no SISR arm: no single-image checkpoint was given."
    header = ["", *(column(metrics, key) for key in found)]
    yield Table("Arms", f"{PLAIN} {loss}{absent}", header, _by_arm(metrics, found))


def _by_arm(metrics: Metrics, keys: list[str]) -> list[list[str]]:
    return [[NAMES[arm], *(cell(metrics[key][arm], COLUMNS[key][1]) for key in keys)] for arm in metrics["psnr"]]


def _differences(metrics: Metrics) -> Iterator[Table]:
    rows = [
        [NAMES[DIFFERENCES[name]], *_tested(row, metrics["tests"][name])] for name, row in metrics["difference"].items()
    ]
    yield Table("What the right reference adds", DIFFERENCE, ["right reference minus", *TESTED], rows)
    titles = {"psnr": "PSNR", "identity": "identity"}
    rows = [[title, cell(metrics["break_even"][key], 2)] for key, title in titles.items()]
    yield Table("How many references may be wrong", BREAK_EVEN, ["judged by", "break-even share"], rows)


TESTED = ("PSNR dB", "p", "identity", "p")


def _tested(difference: Metrics, tests: Metrics) -> list[str]:
    cells = []
    for metric in ("psnr", "identity"):
        cells += [cell(difference[metric], COLUMNS[metric][1], "+"), f"{tests[metric]['p_holm']:.4f}"]
    return cells


def _paper(metrics: Metrics) -> Iterator[Table]:
    keys = ["psnr_paper", "ssim_paper", "psnr_y", "ssim_y"]
    yield Table("The protocol of the paper", PAPER, ["", *(COLUMNS[key][0] for key in keys)], _by_arm(metrics, keys))


def _other_arms(metrics: Metrics) -> Iterator[Table]:
    keys = ["psnr", "identity", "identity_ref", "lr_psnr"]
    header = ["", "images", *(COLUMNS[key][0] for key in keys), "PSNR minus right", "p", "identity minus right", "p"]
    rows = []
    for name, arm in metrics.get("other_arms", {}).items():
        title = OTHERS[name].title if name in OTHERS else name.replace("_", ", ")
        tested = _tested(metrics["other_difference"][name], metrics["other_tests"][name])
        rows.append([title, str(arm["images"]), *(cell(arm[key], COLUMNS[key][1]) for key in keys), *tested])
    yield Table("More arms", MORE_ARMS, header, rows)


def _verification(metrics: Metrics) -> Iterator[Table]:
    keys = {
        "auc": "AUC",
        "tar": "TAR",
        "auc_other_photos": "AUC, other photos",
        "tar_other_photos": "TAR, other photos",
    }
    names = {"hr": TRUE} | NAMES
    to_reference = metrics["identity_ref"] | {"hr": None}
    rows = [
        [names[arm], _or_nothing(to_reference[arm], 4), *(cell(numbers[key], 3) for key in keys if key in numbers)]
        for arm, numbers in metrics["verification"].items()
    ]
    header = [
        "probes",
        "identity to the reference",
        *(title for key, title in keys.items() if key in metrics["verification"]["hr"]),
    ]
    yield Table("Verification", VERIFICATION, header, rows)


def _or_nothing(interval: Metrics | None, digits: int) -> str:
    return cell(interval, digits) if interval else ""


def _kid(metrics: Metrics) -> Iterator[Table]:
    if "kid" not in metrics:
        return
    names = {"hr": TRUE} | NAMES
    rows = [
        [title, "{mean:.4f} ± {sd:.4f}".format(**metrics["kid"][arm])]
        for arm, title in names.items()
        if arm in metrics["kid"]
    ]
    yield Table("Kernel distance", KID.format(**metrics["kid"]), ["", "KID, VGG16-HED (lower)"], rows)


def _samples(metrics: Metrics) -> Iterator[Table]:
    rows = []
    if drawn := metrics.get("samples"):
        rows += [
            ["mean difference of two samples, 8-bit levels", f"{drawn['distance']:.2f}"],
            ["PSNR of a sample, dB", f"{drawn['psnr']:.2f}"],
            ["standard deviation of PSNR over samples, dB", f"{drawn['psnr_sd']:.3f}"],
            ["error over predicted spread (1 is calibrated, above 1 too sure)", f"{drawn['calibration_ratio']:.2f}"],
        ]
    if latent := metrics.get("latent"):
        rows += [
            ["active latent units", f"{latent['active']:.0f} of {latent['units']:.0f}"],
            ["KL of posterior from prior, nats per image", f"{latent['kl']:.2f}"],
        ]
    note = SAMPLES.format(**drawn) if drawn else NO_SAMPLES
    yield Table("Samples and latent variable", note + ACTIVE, ["", "value"], rows)


def _slices(metrics: Metrics) -> Iterator[Table]:
    note = SLICE
    for name, groups in metrics["slices"].items():
        rows = []
        for group, numbers in groups.items():
            gap = group == "gap"
            title = numbers["between"] if gap else group
            counts = ["", ""] if gap else [str(numbers["people"]), str(numbers["images"])]
            cells = [
                cell(numbers[key], digits, "+" if gap or key == "gain" else "")
                for key, digits in (("psnr", 2), ("identity", 4), ("gain", 4))
            ]
            rows.append([title, *counts, *cells])
        header = ["", "people", "images", "PSNR dB", "identity", "gain in identity"]
        yield Table(f"By {SLICES[name]}", note, header, rows)
        note = "Read as the one above."
