"""What `refsr serve` says where it cannot serve."""

from pathlib import Path

import pytest

from refsr.__main__ import main

TOKEN = "0123456789abcdef-secret"  # noqa: S105


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--host", "0.0.0.0"], "other machines reach it, so that a token is needed"),  # noqa: S104
        (["--token-file", "short"], "short: a token of at least 16 characters"),
        (["--token-file", "missing"], "missing"),
        (["--queue", "0"], "--queue 0: a number above 0 is expected"),
        (["--threads", "0"], "--threads 0: a number above 0 is expected"),
        (["--timeout", "nan"], "--timeout nan: a number above 0 is expected"),
        (["--port", "70000"], "--port 70000: a number from 0 to 65535"),
        (["--model", "nowhere", "--port", "0"], "nowhere: no such checkpoint"),
        (["--host", "203.0.113.1", "--token-file", "long"], "cannot be listened on"),
    ],
)
def test_what_cannot_be_served_is_one_message(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REFSR_TOKEN", raising=False)
    monkeypatch.setattr("refsr.service.server._share_cores", lambda threads: None)
    Path("short").write_text("secret\n")
    Path("long").write_text(TOKEN)
    assert main(["serve", *words]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said and TOKEN not in said
