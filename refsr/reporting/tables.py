"""Every table of an evaluation, made from metrics.json alone.

As Markdown here, as HTML in the report.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from refsr.evaluation.conditions import CONDITIONS, DIFFERENCES, MAIN, RIGHT, title_of
from refsr.evaluation.gap import FOUR, MEASURES, OVER_WRONG, WRONG
from refsr.evaluation.metrics import METRICS, in_table
from refsr.evaluation.slices import SLICES
from refsr.reporting.compatibility import compatibility_tables
from refsr.reporting.notes import (
    ACTIVE,
    BEST,
    BEST_ROWS,
    BREAK_EVEN,
    DIFFERENCE,
    GAP,
    KID,
    MORE_CONDITIONS,
    NO_SAMPLES,
    PAPER,
    PLAIN,
    ROBUSTNESS,
    SAMPLES,
    SLICE,
    VERIFICATION,
)
from refsr.reporting.summary import about, cell, compared_metrics, gap_sentence
from refsr.reporting.table import Table

Metrics = Mapping[str, Any]

TRUE = "true images"


def tables(metrics: Metrics) -> list[Table]:
    """All tables that these numbers fill, in reading order."""
    made = [
        *_gap(metrics),
        *_main(metrics),
        *_differences(metrics),
        *_paper(metrics),
        *_other_conditions(metrics),
        *_verification(metrics),
        *compatibility_tables(metrics),
        *_kid(metrics),
        *_samples(metrics),
        *_robustness(metrics),
        *_slices(metrics),
    ]
    return [table for table in made if table.rows]


def markdown(metrics: Metrics) -> str:
    """The tables as a Markdown page."""
    titles = {"sisr": "SISR", "refsr": "RefSR"}
    head = f"# Results\n\nPrinted by `python -m refsr show --markdown`: {about(metrics)}."
    for name, count in metrics["steps"].items():
        head += f" {titles.get(name, name)} had {count} steps of training."
    parts = [f"{head}\n"]
    for table in tables(metrics):
        lines = [table.header, ["---"] * len(table.header), *table.rows]
        rows = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        parts.append(f"## {table.title}\n\n{table.note}\n\n{rows}\n")
    return "\n".join(parts)


def column(metrics: Metrics, key: str) -> str:
    """The title of a metric, which way is better, and whether its network was in the loss."""
    title = f"{METRICS[key].title} ({METRICS[key].direction})"
    return f"{title}, was the loss" if was_the_loss(metrics, key) else title


def was_the_loss(metrics: Metrics, key: str) -> bool:
    """Whether the network that measures `key` was in the training loss, by the checkpoint."""
    network = METRICS[key].network
    return bool(network) and network in metrics["loss_networks"].split(", ")


def _gap(metrics: Metrics) -> Iterator[Table]:
    titles = {
        RIGHT: "1 right reference",
        FOUR: "4 right references",
        WRONG: "1 wrong reference",
        OVER_WRONG: "right minus wrong reference",
    }
    rows = [
        [
            title,
            str(metrics["gap"][name]["images"]),
            *(_or_nothing(metrics["gap"][name].get(key), 2) for key in MEASURES),
        ]
        for name, title in titles.items()
        if name in metrics["gap"]
    ]
    note = f"{gap_sentence(metrics)} {GAP.format(**metrics['thresholds'])}"
    yield Table(
        "The share of the gap that is closed", note, ["", "images", "identity", "TAR"], rows
    )


def _main(metrics: Metrics) -> Iterator[Table]:
    keys = [key for key in in_table("main") if key in metrics]
    loss = f"In the training loss: {metrics['loss_networks']}."
    if metrics["loss_networks"] == "unknown":
        loss = "The checkpoint does not name its loss."
    absent = " There is no condition SISR: no single-image checkpoint was given."
    about = " ".join(f"{METRICS[key].title}: {METRICS[key].about}" for key in keys)
    note = f"{PLAIN} {loss}{'' if 'sisr' in metrics['psnr'] else absent} {about}"
    header = ["", *(column(metrics, key) for key in keys)]
    yield Table("Conditions", note, header, _by_condition(metrics, keys))


def _by_condition(metrics: Metrics, keys: list[str]) -> list[list[str]]:
    return [
        [CONDITIONS[name].title, *_cells({key: metrics[key][name] for key in keys})]
        for name in metrics["psnr"]
    ]


def _cells(intervals: Metrics) -> list[str]:
    """An interval of each metric, with its digits."""
    return [cell(interval, METRICS[key].digits) for key, interval in intervals.items()]


def _differences(metrics: Metrics) -> Iterator[Table]:
    rows = [
        [CONDITIONS[DIFFERENCES[name]].title, *_tested(row, metrics["tests"][name])]
        for name, row in metrics["difference"].items()
    ]
    keys = compared_metrics(metrics)
    header = ["right reference minus", *_with_p(METRICS[key].title for key in keys)]
    yield Table("What the right reference adds", DIFFERENCE, header, rows)
    rows = [[_name(key), cell(metrics["break_even"][key], 2)] for key in keys]
    header = ["metric", "break-even share"]
    yield Table("How many references may be wrong", BREAK_EVEN, header, rows)


def _name(key: str) -> str:
    """The title of a metric without its unit."""
    metric = METRICS[key]
    return metric.title.removesuffix(f" {metric.unit}")


def _with_p(titles: Iterable[str]) -> list[str]:
    return [text for title in titles for text in (title, "p")]


def _tested(difference: Metrics, tests: Metrics) -> list[str]:
    cells = []
    for key, interval in difference.items():
        cells.append(cell(interval, METRICS[key].digits, "+"))
        cells.append(f"{tests[key]['p_holm']:.4f}")
    return cells


def _paper(metrics: Metrics) -> Iterator[Table]:
    keys = [key for key in in_table("paper") if key in metrics]
    header = ["", *(METRICS[key].title for key in keys)]
    yield Table("The protocol of the paper", PAPER, header, _by_condition(metrics, keys))


def _other_conditions(metrics: Metrics) -> Iterator[Table]:
    numbers = metrics.get("other_arms", {})
    keys = [key for key in in_table("more") if METRICS[key].every_condition]
    tested = _with_p(f"{_name(key)} minus right" for key in compared_metrics(metrics))
    header = ["", "images", *(METRICS[key].title for key in keys), *tested]
    rows = []
    for name, each in numbers.items():
        cells = _cells({key: each[key] for key in keys})
        tests = _tested(metrics["other_difference"][name], metrics["other_tests"][name])
        rows.append([title_of(name), str(each["images"]), *cells, *tests])
    yield Table("More conditions", MORE_CONDITIONS, header, rows)


def _verification(metrics: Metrics) -> Iterator[Table]:
    titles = {
        "auc": "AUC",
        "tar": "TAR",
        "far": "FAR",
        "auc_other_photos": "AUC, other photos",
        "tar_other_photos": "TAR, other photos",
        "far_other_photos": "FAR, other photos",
    }
    keys = [key for key in titles if key in metrics["verification"]["hr"]]
    to_reference = metrics["identity_ref"] | {"hr": None}
    rows = [
        [
            _probes()[name],
            _or_nothing(to_reference[name], 4),
            *(cell(numbers[key], 3) for key in keys),
        ]
        for name, numbers in metrics["verification"].items()
    ]
    header = ["probes", METRICS["identity_ref"].title, *(titles[key] for key in keys)]
    limits = metrics["thresholds"]
    stated = f"{limits['references']:.4f}"
    if "other_photos" in limits:
        stated += f", of `other photos` {limits['other_photos']:.4f}"
    note = VERIFICATION.format(**limits, thresholds=stated)
    yield Table("Verification", note, header, rows)


def _probes() -> dict[str, str]:
    """The titles of what is compared as a set: the true images, and the main conditions."""
    return {"hr": TRUE} | {name: each.title for name, each in MAIN.items()}


def _or_nothing(interval: Metrics | None, digits: int) -> str:
    return cell(interval, digits) if interval else ""


def _kid(metrics: Metrics) -> Iterator[Table]:
    if "kid" not in metrics:
        return
    rows = [
        [title, "{mean:.4f} ± {sd:.4f}".format(**metrics["kid"][name])]
        for name, title in _probes().items()
        if name in metrics["kid"]
    ]
    note = KID.format(**metrics["kid"])
    yield Table("Kernel distance", note, ["", "KID, VGG16-HED (lower)"], rows)


def _samples(metrics: Metrics) -> Iterator[Table]:
    rows = []
    if drawn := metrics.get("samples"):
        rows += [
            [
                "mean difference of two samples, 8-bit levels",
                f"{drawn['distance']:.2f}",
            ],
            ["PSNR of a sample, dB", f"{drawn['psnr']:.2f}"],
            ["standard deviation of PSNR over samples, dB", f"{drawn['psnr_sd']:.3f}"],
            [
                "error over predicted spread (1 is calibrated, above 1 too sure)",
                f"{drawn['calibration_ratio']:.2f}",
            ],
        ]
    if latent := metrics.get("latent"):
        rows += [
            ["active latent units", f"{latent['active']:.0f} of {latent['units']:.0f}"],
            ["KL of posterior from prior, nats per image", f"{latent['kl']:.2f}"],
        ]
    note = SAMPLES.format(**drawn) if drawn else NO_SAMPLES
    yield Table("Samples and latent variable", note + ACTIVE, ["", "value"], rows)
    if best := drawn and drawn.get("best"):
        keys = ("psnr", "identity")
        rows = [
            [title, *_cells({key: best[name][key] for key in keys})]
            for name, title in BEST_ROWS.items()
        ]
        header = ["", *(METRICS[key].title for key in keys)]
        yield Table("The sample nearest to the reference", BEST.format(**drawn), header, rows)


def _robustness(metrics: Metrics) -> Iterator[Table]:
    keys = ("psnr", "identity")
    rows = [
        [way.replace("_", " "), CONDITIONS[name].title, *_cells({key: values[key] for key in keys})]
        for way, conditions in metrics.get("robustness", {}).items()
        for name, values in conditions.items()
    ]
    header = ["LR image", "condition", *(METRICS[key].title for key in keys)]
    yield Table("Other small photos", ROBUSTNESS, header, rows)


def _slices(metrics: Metrics) -> Iterator[Table]:
    note = SLICE
    keys = compared_metrics(metrics)
    titles = [METRICS[key].title for key in keys]
    for name, groups in metrics["slices"].items():
        rows = [_slice_row(group, numbers, keys) for group, numbers in groups.items()]
        header = ["", "people", "images", *titles, "gain in identity"]
        yield Table(f"By {SLICES[name].title}", note, header, rows)
        note = "Read as the one above."


def _slice_row(group: str, numbers: Metrics, keys: list[str]) -> list[str]:
    gap = group == "gap"
    start = [group, str(numbers.get("people", "")), str(numbers.get("images", ""))]
    if gap:
        start[0] = numbers["between"]
    digits = {key: METRICS[key].digits for key in keys} | {"gain": METRICS["identity"].digits}
    signed = {key: "+" if gap or key == "gain" else "" for key in digits}
    return [*start, *(cell(numbers[key], digits[key], signed[key]) for key in digits)]
