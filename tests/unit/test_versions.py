"""What people see of registered versions: in the terminal and in MLflow."""

import json
import shutil
from pathlib import Path

import pytest
from registering import Pipeline

from refsr.__main__ import main
from refsr.config import Register
from refsr.integrations import version_facts
from refsr.integrations.registry import Registry
from refsr.steps.register import promote

FIRST = "passed as the first"
GAIN = {"mean": 0.25, "low": 0.2, "high": 0.3}
DIFFERENCE = "difference.right_minus_wrong.psnr.mean"


@pytest.fixture
def pipeline(
    tracking_uri: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Pipeline:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
    params = tmp_path / "params.yaml"
    params.write_text("register: {}\n")
    return Pipeline(tracking_uri, tmp_path)


def _printed(
    capsys: pytest.CaptureFixture[str],
    *words: str,
    status: int = 0,
) -> str:
    capsys.readouterr()
    assert main(words) == status
    out, err = capsys.readouterr()
    return err if status else out


def test_versions_are_listed(
    pipeline: Pipeline,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = _printed(capsys, "versions")
    assert "has no version yet" in text
    assert _printed(capsys, "versions", "--json") == "[]\n"
    registry = Registry(pipeline.uri, "refsr")
    for seed in (1, 2):
        pipeline.train(seed)
        pipeline.register()
    promote(pipeline.uri, Register(), "2")
    text = _printed(capsys, "versions")
    header, last, first, *_ = text.splitlines()
    assert header.startswith("version  aliases")
    assert last.startswith("2        candidate, champion")
    assert "passed against version 1" in last
    assert FIRST in first
    assert "+0.2500 [+0.2000, +0.3000]" in first
    # a version of before there was the tag
    client = registry._client
    client.delete_model_version_tag("refsr", "1", "gain")
    text = _printed(capsys, "versions", "--json")
    rows = json.loads(text)
    for row in rows:
        gain = row["gain"]["identity"]
        assert gain == pytest.approx(GAIN)
        assert row["data"].startswith("manifest-")
    assert [row["gate"] for row in rows] == [
        "passed against version 1",
        FIRST,
    ]


def test_a_damaged_version_is_listed_too(
    pipeline: Pipeline,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pipeline.train(1)
    pipeline.register()
    registry = Registry(pipeline.uri, "refsr")
    client = registry._client
    for damage in ("{", "[]", '{"psnr": 1}'):
        client.set_model_version_tag("refsr", "1", "gain", damage)
        text = _printed(capsys, "versions")
        row = text.splitlines()[1]
        assert "unknown" in row


def test_a_version_is_shown(
    pipeline: Pipeline,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pipeline.train(1)
    pipeline.register()
    folder = pipeline.paths["registration"]
    card = (folder / "model_card.md").read_text()
    show = ("show", "champion")
    text = _printed(capsys, *show, "--markdown")
    assert text == card
    text = _printed(capsys, *show)
    assert 'load("models:/refsr/1")' in text
    cell = "26.00 [25.50, 26.50]"
    assert f"RefSR, right reference  {cell}" in text
    assert "**" not in text
    text = _printed(capsys, "show", "7", status=1)
    assert "no version '7'; there are: 1" in text


def test_a_version_has_a_description(
    pipeline: Pipeline,
) -> None:
    """What a killed registration left out is added,
    and what a person wrote is kept.
    """
    pipeline.train(1)
    evaluated = pipeline.paths["evaluation"]
    page = evaluated / "report.html"
    page.write_text("<!-- facts -->\n")
    picture = evaluated / "strips.png"
    picture.write_bytes(b"picture")
    pipeline.register()
    registry = Registry(pipeline.uri, "refsr")
    entry = registry.entry("1")
    text = entry.description
    assert "identity by +0.2500" in text
    assert 'load("models:/refsr/1")' in text
    run_id = entry.run_id
    folder = f"runs/{run_id}/artifacts/registration"
    assert f"{folder}/report.html" in text
    path = "path=registration%2Fstrips.png"
    assert f"{path}&run_uuid={run_id}" in text
    registered = pipeline.paths["registration"]
    page = registered / "report.html"
    shown = page.read_text()
    assert "<dd>1 of refsr</dd>" in shown
    assert "passed; champion: none yet" in shown
    client = registry._client
    run = client.get_run(run_id)
    assert run.data.metrics[DIFFERENCE] == 2.0

    describe = client.update_model_version
    describe("refsr", "1", "")
    root = Path(run.info.artifact_uri)
    shutil.rmtree(root / "registration")
    pipeline.register()
    entry = registry.entry("1")
    assert entry.description == text
    card = registry.card("1")
    assert card.startswith("# refsr, version 1\n")
    describe("refsr", "1", "by a person")
    pipeline.register()
    entry = registry.entry("1")
    assert entry.description == "by a person"


@pytest.mark.parametrize(
    ("champion", "gate"),
    [
        ("none yet", FIRST),
        ("unknown", "unknown"),
        (
            "version 3, not comparable: it saw other",
            "passed, version 3 not comparable",
        ),
    ],
)
def test_the_verdict_in_words(champion: str, gate: str) -> None:
    keys = version_facts.VersionFacts._fields
    blank = dict.fromkeys(keys)
    facts = version_facts.VersionFacts(**blank)  # type: ignore[arg-type]
    facts = facts._replace(champion=champion)
    assert facts.gate == gate
