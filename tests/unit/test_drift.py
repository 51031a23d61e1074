"""Drift: logs of the population of training pass, logs of other photos are flagged."""

import gzip
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import make_curated
from scipy import stats

from refsr.__main__ import main
from refsr.commands.drift import STATUS
from refsr.dataset.small_photos import WAYS
from refsr.errors import RefsrError
from refsr.evaluation import drift
from refsr.inference import request_log
from refsr.inference.export import export
from refsr.inference.image_statistics import STATISTICS, image_statistics
from refsr.models.checkpoint import load_model, save_model
from refsr.models.compact import CompactSisr
from refsr.reporting import drift as report
from refsr.side_config import Drift
from refsr.steps import drift as step
from refsr.synthetic.people import view
from refsr.synthetic.render import Frame, model, render

SCALE, PEOPLE = 4, 64
FRAME = Frame(64, 64, 42.0, 32.0, 37.5)


@pytest.fixture(scope="module")
def faces():
    """(64, 64, 64, 3) uint8: rendered people."""
    people = [model(seed) for seed in range(PEOPLE)]
    return np.stack([render(each, view(0, each.who, True), FRAME).image for each in people])


@pytest.fixture(scope="module")
def known(faces):
    """Every second person is one of the validation people of a curated set."""
    chosen = np.arange(1, PEOPLE, 2)
    names = [f"n{number:06d}" for number in chosen]
    table = pd.DataFrame({"identity": names, "split": "validation", "role": "image"})
    curated = SimpleNamespace(table=table, pixels=lambda rows: faces[chosen[rows]], folder="data")
    return report.trained(curated, SCALE, "revision")


def small(faces, way="bicubic"):
    """The others, who ask the service: LR as `way` makes it."""
    hr = torch.from_numpy(faces[::2]).permute(0, 3, 1, 2).float() / 255
    lr = WAYS[way](hr, SCALE)[1]
    return (lr * 255).round().byte().permute(0, 2, 3, 1).numpy()


def line(faces, **more):
    """A line of the service."""
    values = [image_statistics(face, face.shape[0]) for face in faces]
    fields = {"time": "2026-11-29T10:00:00", "path": "/v1/upscale", "status": 200, "version": "3"}
    fields |= {"seconds": 0.5, "fits": [[0.9, 0.1]], "statistics": values}
    return json.dumps(fields | more)


def examined(known, faces, path):
    path.write_text("\n".join(line([face]) for face in faces))
    return report.examine(known, request_log.read([path]))


def test_the_same_population_passes(known, faces, tmp_path):
    result = examined(known, small(faces), tmp_path / "log")
    assert result.verdict == "same", report.table_text(result)
    assert result.log.requests == result.trained.people == PEOPLE // 2


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda faces: small(faces, "blur"), {"noise"}),
        (lambda faces: small(faces, "jpeg_30"), {"noise", "colour_detail"}),
        (lambda faces: small(faces, "noise"), {"noise", "colour_detail"}),
        (lambda faces: small(faces) // 3, {"brightness", "contrast"}),
        (lambda faces: (small(faces) * np.array([1, 0.9, 0.5])).astype(np.uint8), {"warmth"}),
    ],
    ids=["blurred", "jpeg", "noisy", "dark", "yellow"],
)
def test_other_photos_are_flagged_by_what_is_other(known, faces, tmp_path, change, names):
    result = examined(known, change(faces), tmp_path / "log")
    drifted = {name for name, each in result.shifts.items() if each.verdict == "drift"}
    assert names <= drifted, report.table_text(result)
    page = report.render(result)
    assert report.SENTENCES["drift"] in page and "http" not in page.replace("http-equiv", "")


def test_both_tests_agree_with_scipy_and_the_definition():
    rng = np.random.default_rng(0)
    first, second = rng.normal(0, 1, 400), rng.normal(0.3, 1, 300)
    size = 1 / (1 / 400 + 1 / 300)
    expected = stats.ks_2samp(first, second, method="asymp")
    assert drift.ks(first, second) == pytest.approx(expected.statistic)
    p = drift.kolmogorov(expected.statistic, size)
    assert p == pytest.approx(expected.pvalue, rel=0.3)
    for distance in (0.001, 0.05, 0.3):
        scaled = (size**0.5 + 0.12 + 0.11 / size**0.5) * distance
        assert drift.kolmogorov(distance, size) == pytest.approx(stats.kstwobign.sf(scaled))
    # A shift of one standard deviation of a normal has PSI 1; bins see less of it.
    shifted = drift.psi(rng.normal(0, 1, 10**5), rng.normal(1, 1, 10**5), 10)
    assert 0.8 < shifted < 1
    assert drift.psi(first, first, 10) == pytest.approx(0)
    assert drift.psi(np.ones(50), np.ones(50), 10) == pytest.approx(0)


def test_chance_alone_rarely_says_drift():
    rng = np.random.default_rng(1)
    verdicts = []
    for _ in range(100):
        samples = [{str(n): rng.normal(size=60) for n in range(7)} for _ in range(2)]
        verdicts.append(drift.worst(drift.shifts(*samples, people=60, requests=60)))
    assert verdicts.count("drift") <= 1 and verdicts.count("same") >= 97


def test_too_few_are_refused():
    values = {"a": np.arange(50.0)}
    with pytest.raises(RefsrError, match=r"9 people .* at least 10"):
        drift.shifts(values, values, 9, 50)
    with pytest.raises(RefsrError, match=r"29 requests .* at least 30 .* longer time"):
        drift.shifts(values, values, 50, 29)


BAD = [
    "", "12:00:01 INFO    serve: answered", "{", "[1]", "{}}", '"{}"', "\x00\xff", "{" * 5000,
    '{"path": "/v1/upscale", "status": 200, "statistics": [{}]}',
    '{"path": "/v1/upscale", "status": 200, "statistics": [3]}',
    '{"path": "/v1/upscale", "status": 200, "statistics": 3}',
    '{"path": "/v1/upscale", "status": 200, "statistics": [], "fits": [3]}',
    '{"path": "/v1/upscale", "status": 200, "seconds": "long"}',
]  # fmt: skip


def test_bad_lines_are_counted_and_others_are_passed_over(tmp_path):
    face = np.zeros((8, 8, 3), np.uint8)
    nan = {name: float("nan") for name in STATISTICS}
    good = [line([face, face], version=str(number)) for number in (3, 4)]
    others = ['{"message": "serving"}', '{"path": "/healthz", "status": 200}']
    refused = '{"path": "/v1/upscale", "status": 429, "seconds": 0.1}'
    prefixed = f"[pod/serve-1] 2026-11-29T10:00:00Z {good[0]}"
    lines = [*BAD, line([], statistics=[nan]), *good, *others, refused, prefixed]
    (tmp_path / "logs").mkdir()
    text = "\n".join(lines).encode("utf-8", "surrogatepass")
    (tmp_path / "logs/a.log").write_bytes(text)
    (tmp_path / "logs/b.log.gz").write_bytes(gzip.compress(good[0].encode())[:-3])
    (tmp_path / "logs/c.log").write_bytes(b"{" + b"x" * 3 * 2**20 + b"\n" + good[1].encode())
    read = request_log.read([tmp_path / "logs"])
    assert read.bad == len(BAD) - 1 + 1 + 1 + 1  # no empty line; NaN, the gzip's end, the long line
    assert read.requests == 4 and read.statuses == {"200": 4, "429": 1}
    assert read.versions == {"3": 2, "4": 2}
    assert len(read.values["noise"]) == 8 and list(read.fits) == [0.9, 0.1] * 4


def test_stdin_is_read(monkeypatch):
    data = io.BytesIO(line([np.zeros((8, 8, 3), np.uint8)]).encode())
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=data))
    assert request_log.read([request_log.STDIN]).requests == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0 log lines"),
        ("12:00 INFO serve: answered\n", "1 of them are no JSON.*--log-json"),
        ('{"path": "/v1/upscale", "status": 200}', "an older refsr"),
    ],
)
def test_logs_without_statistics_say_why(text, message, tmp_path):
    (tmp_path / "log").write_text(text)
    with pytest.raises(RefsrError, match=message):
        request_log.require_statistics(request_log.read([Path(tmp_path / "log")]))


@pytest.fixture(scope="module")
def files(faces, tmp_path_factory):
    """What the command reads: a curated set, a checkpoint, logs of a bright and of a dark day."""
    folder = tmp_path_factory.mktemp("drift")
    shown = np.repeat(faces[:32, None], 2, axis=1)
    make_curated(folder / "curated", 32, images=1, size=64, validation=32, pixels=shown)
    network = CompactSisr(hr_size=64, scale=SCALE, width=16, blocks=1)
    save_model(folder / "model.safetensors", network)
    lines = [line([face]) for face in small(np.repeat(faces[:32], 2, axis=0))]
    dark = [line([face // 4]) for face in small(np.repeat(faces[:32], 2, axis=0))]
    (folder / "bright.log").write_text("\n".join([*lines, *BAD]))
    (folder / "dark.log").write_text("\n".join(dark))
    return folder


@pytest.mark.parametrize(("log", "status"), [("bright.log", 0), ("dark.log", STATUS)])
def test_the_exit_status_says_whether_there_is_drift(log, status, files, tmp_path, capsys):
    page = tmp_path / "page.html"
    known = ["--data", str(files / "curated"), "--model", str(files / "model.safetensors")]
    words = ["drift", str(files / log), *known, "-o", str(page)]
    assert main(words) == status
    assert f"page  {page}" in capsys.readouterr().out
    exported = files / "model.onnx"
    if not exported.exists():
        export(load_model(files / "model.safetensors"), {}, exported)
    words = [str(exported) if word.endswith("model.safetensors") else word for word in words]
    assert main([*words, "--json"]) == status
    result = json.loads(capsys.readouterr().out)
    assert result["log"]["requests"] == result["people"] == 32
    assert result["log"]["bad_lines"] == (len(BAD) - 1 if log == "bright.log" else 0)
    assert set(result["statistics"]) == set(STATISTICS)


@pytest.mark.parametrize(
    ("option", "name", "message"),
    [
        ("--data", "s/curated", "no curated set here"),
        ("--data", "v9", "data/curated of . at v9"),
        ("--model", "other.safetensors", "no such checkpoint"),
        ("-o", "dark.log", "not .* replace|exists"),
    ],
)
def test_a_wrong_input_is_one_message(option, name, message, files, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dark.log").write_text("mine")
    chosen = {"--data": str(files / "curated"), "--model": str(files / "model.safetensors")}
    chosen |= {"-o": "page.html", option: name}
    words = [word for pair in chosen.items() for word in pair]
    assert main(["drift", str(files / "dark.log"), *words]) == 1
    assert re.search(message, capsys.readouterr().err)
    assert (tmp_path / "dark.log").read_text() == "mine"


def test_the_step_fails_on_drift_only_where_it_shall(files, tmp_path):
    kept = []
    tracker = SimpleNamespace(artifact=lambda path: kept.append(path.name), tags=kept.append)
    paths = {"refsr": files / "model.safetensors", "curated": files / "curated"}
    paths |= {"logs": files / "dark.log"}
    numbers = step.drift(Drift(), tracker, **paths, drift=tmp_path / "a")
    assert numbers["drifted"] > 0 and numbers["requests"] == 32
    assert kept == [step.PAGE, step.RESULT, {"drift": "drift"}]
    with pytest.raises(step.DriftedError, match="brightness"):
        step.drift(Drift(fail=True), tracker, **paths, drift=tmp_path / "b")
    assert kept[3:] == kept[:3]
