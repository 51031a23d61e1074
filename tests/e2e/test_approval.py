"""A promotion after a person's approval."""

from pathlib import Path

import pytest
from registering import Pipeline

from refsr.__main__ import main
from refsr.config import Register
from refsr.errors import RefsrError
from refsr.integrations.registry import Registry
from refsr.steps import approval

BY, AT = "approved.by", "approved.at"
NEXT = ["promote", "--approved"]
STEPS = (  # command, and the champion after it
    (NEXT, "1"),
    (["approve", "2"], "1"),
    (NEXT, "2"),
    (NEXT, "2"),
    (["rollback"], "1"),
    (NEXT, "1"),
    (["approve", "1"], "1"),  # which the later approval replaces
    (["approve", "candidate", "--by", "bob"], "1"),
    (NEXT, "2"),
    (NEXT, "2"),
)


def _refuse(*_: object) -> None:
    raise RefsrError("the gate")


def test_an_approved_version_is_promoted_once(
    tracking_uri: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Who and when is recorded; after a rollback it needs a new approval."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "alice")
    (tmp_path / "params.yaml").write_text("register: {}\n")
    pipeline = Pipeline(tracking_uri, tmp_path)
    for seed in (1, 2):
        pipeline.train(seed)
        pipeline.register()
    registry = Registry(tracking_uri, "refsr")
    for words, champion in STEPS:
        assert main(words) == 0, words
        assert registry.champion() == champion, words
    printed = capsys.readouterr().out
    assert printed.count("no version of refsr has an approval that was not used") == 4
    tags = registry.tags("2")
    assert tags[approval.PROMOTED] == f"approved by bob at {tags[AT]}"
    assert registry.tags("1")[BY] == "alice"
    # In MLflow's pages, a person sets the name and removes the time of an earlier approval.
    registry.set_tags("1", {BY: "carol"})
    registry._client.delete_model_version_tag("refsr", "1", AT)
    with monkeypatch.context() as patch:
        patch.setattr("refsr.steps.approval.promote", _refuse)
        assert main(NEXT) == 1
    assert "the gate" in capsys.readouterr().err
    assert registry.champion() == "2"
    assert approval.promote_approved(tracking_uri, Register())
    assert "approved by carol" in registry.tags("1")[approval.PROMOTED]
    assert registry.champion() == "1"
    with pytest.raises(RefsrError, match="pass --by NAME"):
        approval.approve(tracking_uri, "refsr", "2", " ")
