"""The stage as a whole, and what it leaves behind."""

import json
import re
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import pandas as pd
import pytest
from evaluated import PARAMS, Done
from helpers import FAITHFUL, make_curated
from pages import pictures

from refsr.dataset.curated import Curated
from refsr.errors import RefsrError
from refsr.evaluation.conditions import DIFFERENCES, OTHERS
from refsr.evaluation.networks import load_models
from refsr.evaluation.pairing import pairs
from refsr.evaluation.protocol import Bench
from refsr.evaluation.scoring import Scorer
from refsr.evaluation.statistics import flatten
from refsr.models.compact import CompactRefsr
from refsr.reporting import charts, figures, report, tables
from refsr.reporting.summary import table_text
from refsr.steps.evaluate import evaluate
from refsr.tracker import NullTracker

ROOT = Path(__file__).parents[2]


def test_metrics_json_has_every_number_in_its_place(
    done: Done,
) -> None:
    folder, returned, _ = done
    metrics = json.loads((folder / "metrics.json").read_text())
    for metric in (
        "psnr",
        "ssim",
        "identity",
        "perceptual",
        "efficientnet",
        "lr_psnr",
        "psnr_paper",
        "identity_ref",
    ):
        assert list(metrics[metric]) == list(FAITHFUL)
        for interval in metrics[metric].values():
            assert interval["low"] <= interval["mean"] <= interval["high"]
    assert set(metrics["difference"]) == set(DIFFERENCES) - {"right_minus_sharp"}
    assert all(set(pair) == {"psnr", "identity"} for pair in metrics["difference"].values())
    assert list(metrics["data"].values()) == ["test", 7, 14, 32, 8]
    assert list(metrics["other_arms"]) == [
        name for name in OTHERS if name not in ("refs_3", "refs_4")
    ]
    assert set(metrics["verification"]) == {"hr", *FAITHFUL}
    assert metrics["kid"]["reference_set"] == "3 true images of the training split, other people"
    assert metrics["samples"]["samples"] == 2
    assert {"female", "male", "gap"} == set(metrics["slices"]["sex"])
    assert metrics["loss_networks"] == "efficientnet_lite0"
    assert metrics["steps"] == {"refsr": 7}
    assert returned == flatten(metrics)
    assert np.isfinite(list(returned.values())).all()


def test_differences_agree_with_the_table_per_image(
    done: Done,
) -> None:
    folder, returned, _ = done
    table = pd.read_parquet(folder / "images.parquet")
    assert len(table) == 14 * (len(FAITHFUL) + len(OTHERS) - 2)
    # Everybody has two images, so this is the mean over people too.
    means = table.groupby("arm")["psnr"].mean()
    assert returned["difference.right_minus_sisr.psnr.mean"] == pytest.approx(
        means["ref_right"] - means["sisr"],
    )


def test_the_tracker_is_shown_the_pictures_and_given_the_report(
    done: Done,
) -> None:
    folder, _, tracker = done
    strips = {"strips", "strips_best", "strips_worst", "strips_more_arms", "close_ups"}
    assert set(tracker.images) == strips | {"samples", "transfer_grid", "reliability"}
    for name, shown in tracker.images.items():
        stored = cv2.imread(str(folder / f"{name}.png"))
        assert stored is not None
        assert np.array_equal(stored[..., ::-1], shown)
    assert set(tracker.files) == {"report.html", "results.md", "table.txt", "metrics.json"}


def test_samples_are_shown_beside_the_output_they_depart_from(
    inputs: dict[str, Path],
    tmp_path: Path,
) -> None:
    faces = Curated(inputs["curated"])
    models = load_models({"refsr": inputs["refsr"] / "model.safetensors"}, faces.hr_size)
    modes = cast(CompactRefsr, models.refsr).modes
    modes.output.weight.data *= 100  # large enough to be seen in 8 bits
    bench = Bench(faces, models, Scorer(models.device), pairs(faces.table, 0))
    person = str(bench.test["person"].iloc[0])
    (strip,) = figures.drawn(bench, [person], count=2)
    assert list(strip.pictures) == ["LR", "RefSR right", "sample 1", "sample 2", "HR"]
    assert strip.conditions == {"RefSR right": "ref_right"}
    output, first, second = (
        strip.pictures[name] for name in ("RefSR right", "sample 1", "sample 2")
    )
    assert not np.array_equal(first, second)
    assert not np.array_equal(output, first)
    models.refsr.draws_samples = False
    assert figures.drawn(bench, [person]) == []


@pytest.mark.parametrize("clear", [1, 2, 3])
def test_a_strip_shows_the_image_whose_eyes_are_clear(
    inputs: dict[str, Path],
    tmp_path: Path,
    clear: int,
) -> None:
    pixels = np.full((2, 4, 32, 32, 3), 120, np.uint8)
    pixels[0, :, 20:] = np.random.default_rng(0).integers(0, 256, (4, 12, 32, 3))  # below the eyes
    pixels[0, clear % 3 + 1, 13, 8:11] = 255  # one eye alone is not enough
    pixels[0, clear, 13, [9, 22]] = 200
    folder = make_curated(tmp_path / "curated", identities=2, images=3, pixels=pixels)
    faces = Curated(folder)
    models = load_models({"refsr": inputs["refsr"] / "model.safetensors"}, faces.hr_size)
    bench = Bench(faces, models, Scorer(models.device), pairs(faces.table, 0))
    (strip,) = figures.strips(bench, ["n000000"], ["bicubic"])
    assert strip.source == f"n000000/{clear:04d}_01.jpg"
    assert np.array_equal(strip.pictures["HR"], pixels[0, clear])


def test_plots_are_means_over_people(done: Done) -> None:
    folder, returned, _ = done
    conditions = pd.read_csv(folder / "plots" / "arms.csv", index_col="arm")
    assert list(conditions.index) == list(FAITHFUL)
    assert conditions.loc["sisr", "psnr"] == pytest.approx(returned["psnr.sisr.mean"], rel=1e-4)
    dots = pd.read_csv(folder / "plots" / "psnr_intervals.csv")
    assert list(dots) == ["arm", "psnr", "low", "high"]
    assert len(pd.read_csv(folder / "plots" / "per_identity.csv")) == 7 * len(FAITHFUL)


def test_the_report_opens_without_a_network(done: Done) -> None:
    """Well-formed, every image inside, nothing from elsewhere;
    strips of 9, 9 and 9 (samples), a grid of 3 x 3 + 6.
    """
    addresses = pictures((done[0] / "report.html").read_text())
    assert len(addresses) == 3 * 9 + 9 + 9 + 9 + 6
    assert all(address.startswith("data:image/png;base64,") for address in addresses)


def test_the_report_says_what_is_rendered(
    inputs: dict[str, Path],
    done: Done,
    tmp_path: Path,
) -> None:
    assert "The faces are rendered" in (done[0] / "report.html").read_text()
    assert report._rendered(tmp_path / "missing.json") is None
    (tmp_path / "photos.json").write_text(json.dumps({"rendered": False}))
    assert report._rendered(tmp_path / "photos.json") is False


def test_table_text(done: Done) -> None:
    """Plain ASCII, a line per condition and per difference, with the numbers of metrics.json."""
    folder, returned, _ = done
    text = table_text(json.loads((folder / "metrics.json").read_text()))
    assert text == (folder / "table.txt").read_text()
    assert text.isascii()
    line = next(line for line in text.splitlines() if line.startswith("RefSR, right reference"))
    assert f"{returned['psnr.ref_right.mean']:.2f} [{returned['psnr.ref_right.low']:.2f}, " in line
    assert text.count("RefSR, wrong reference") == 2


def test_results_are_every_table_and_the_report_has_them_too(
    done: Done,
) -> None:
    folder, returned, _ = done
    text, page = (folder / "results.md").read_text(), (folder / "report.html").read_text()
    made = tables.tables(json.loads((folder / "metrics.json").read_text()))
    assert [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")] == [
        t.title for t in made
    ]
    for table in made:
        assert {len(row) for row in table.rows} == {len(table.header)}, table.title
        assert "nan" not in str(table.rows)
        assert f"<h3>{table.title}</h3>" in page
    line = next(
        line for line in text.splitlines() if line.startswith("| RefSR, 2 right references | 14 |")
    )
    assert f"{returned['other_arms.refs_2.psnr.mean']:.2f} [" in line


def test_docs_results_has_the_form_of_what_is_printed_now(
    done: Done,
) -> None:
    """Every table of a run, under its title and with its columns;
    docs/results.md may have more slices.
    """
    printed, written = (
        _headers(path.read_text()) for path in (done[0] / "results.md", ROOT / "docs/results.md")
    )
    del printed["Other small photos"]  # that evaluation has robustness 0
    assert {title: written.get(title) for title in printed} == printed


def _headers(text: str) -> dict[str, str]:
    """Title of each table -> its header, without the marks that depend on the checkpoint."""
    matches = re.findall(r"^## (.*?)$.*?^(\|.*?\|)$", text, re.MULTILINE | re.DOTALL)
    return {title: header.replace(", was the loss", "") for title, header in matches}


def test_a_network_that_was_the_loss_is_marked(
    done: Done,
) -> None:
    metrics = json.loads((done[0] / "metrics.json").read_text())
    assert tables.column(metrics, "efficientnet") == "EfficientNet-Lite0 (lower), was the loss"
    assert tables.column(metrics, "perceptual") == "VGG16-HED (lower)"
    assert "In the training loss: efficientnet_lite0." in (done[0] / "results.md").read_text()
    unknown = metrics | {"loss_networks": "unknown"}
    assert tables.column(unknown, "efficientnet") == "EfficientNet-Lite0 (lower)"
    assert "The checkpoint does not name its loss." in tables.markdown(unknown)


def test_a_model_alone_is_evaluated_without_sisr_and_beside_another(
    inputs: dict[str, Path],
    tmp_path: Path,
) -> None:
    """Given as a file; another checkpoint is measured in three conditions of its own."""
    given = inputs["refsr"] / "model.safetensors"
    params = PARAMS.model_copy(update={"compare": {"twin": given}})
    returned = evaluate(
        params,
        NullTracker(),
        curated=inputs["curated"],
        refsr=given,
        evaluation=tmp_path / "out",
    )
    assert "psnr.sisr.mean" not in returned
    assert "difference.right_minus_sisr.psnr.mean" not in returned
    assert returned["other_arms.twin_right.psnr.mean"] == returned["psnr.ref_right.mean"]
    assert returned["other_difference.twin_right.psnr.mean"] == 0
    text = (tmp_path / "out" / "results.md").read_text()
    assert "There is no condition SISR: no single-image checkpoint was given." in text
    assert "| twin, right | 14 |" in text
    pictures((tmp_path / "out" / "report.html").read_text())


def test_lpips_needs_its_weights(inputs: dict[str, Path], tmp_path: Path) -> None:
    params = PARAMS.model_copy(update={"lpips": tmp_path / "lpips.pth"})
    with pytest.raises(RefsrError, match="no such file of LPIPS weights"):
        evaluate(params, NullTracker(), evaluation=tmp_path / "out", **inputs)


def test_curves_draw_what_there_is(inputs: dict[str, Path]) -> None:
    """A falling line from upper left to lower right;
    a column without numbers is left out, a wide one is log.
    """
    panels = charts.curves(
        {"RefSR": inputs["refsr"] / "history.csv", "SISR": inputs["sisr"] / "history.csv"},
    )
    assert [(panel["name"], panel["log"]) for panel in panels] == [("loss", False), ("kl", True)]
    assert panels[0]["lines"] == {"RefSR": "33.33,0.00 66.67,66.67 100.00,100.00"}
    assert panels[1]["lines"] == {"RefSR": "33.33,0.00 66.67,66.67 100.00,100.00"}
    assert charts.curves({"SISR": inputs["sisr"] / "history.csv"}) == []
