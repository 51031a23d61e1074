"""The log of the service: what is read, what is passed over, and what is counted as bad."""

import gzip
import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from request_lines import BAD, line

from refsr.errors import RefsrError
from refsr.inference import request_log
from refsr.inference.image_statistics import STATISTICS


def test_bad_lines_are_counted_and_others_are_passed_over(
    tmp_path,
):
    face = np.zeros((8, 8, 3), np.uint8)
    nan = {name: float("nan") for name in STATISTICS}
    good = [line([face, face], version=str(number)) for number in (3, 4)]
    others = [
        '{"message": "serving"}',
        '{"path": "/healthz", "status": 200}',
    ]
    refused = '{"path": "/v1/upscale", "status": 429, "seconds": 0.1}'
    prefixed = f"[pod/serve-1] 2026-11-29T10:00:00Z {good[0]}"
    lines = [
        *BAD,
        line([], statistics=[nan]),
        *good,
        *others,
        refused,
        prefixed,
    ]
    (tmp_path / "logs").mkdir()
    text = "\n".join(lines).encode("utf-8", "surrogatepass")
    (tmp_path / "logs/a.log").write_bytes(text)
    (tmp_path / "logs/b.log.gz").write_bytes(gzip.compress(good[0].encode())[:-3])
    (tmp_path / "logs/c.log").write_bytes(b"{" + b"x" * 3 * 2**20 + b"\n" + good[1].encode())
    read = request_log.read([tmp_path / "logs"])
    assert read.bad == len(BAD) - 1 + 1 + 1 + 1  # no empty line; NaN, the gzip's end, the long line
    assert read.requests == 4 and read.statuses == {
        "200": 4,
        "429": 1,
    }
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
        (
            "12:00 INFO serve: answered\n",
            "1 of them are no JSON.*--log-json",
        ),
        (
            '{"path": "/v1/upscale", "status": 200}',
            "an older refsr",
        ),
    ],
)
def test_logs_without_statistics_say_why(text, message, tmp_path):
    (tmp_path / "log").write_text(text)
    with pytest.raises(RefsrError, match=message):
        request_log.require_statistics(request_log.read([Path(tmp_path / "log")]))
