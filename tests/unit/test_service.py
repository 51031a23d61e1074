"""The service: answers, limits, the token, the queue, and uploads that mean harm."""

import base64
import io
import json
import logging
import re
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import pictures
from PIL import Image
from service_client import SMALL, Client, detail, file, noise, serving
from torch import nn

from refsr.inference.image_statistics import STATISTICS
from refsr.io.pictures import PNG
from refsr.models.checkpoint import save_model
from refsr.models.compact import CompactRefsr, CompactSisr
from refsr.service import example
from refsr.service.api import prefers_json
from refsr.service.following import Following
from refsr.service.server import warm_up
from refsr.service.settings import Settings
from refsr.service.worker import Worker

TINY = {"hr_size": 32, "scale": 4, "width": 16, "blocks": 1}
TOKEN = "0123456789abcdef-secret"  # noqa: S105
UPLOADS = 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    network = CompactRefsr(**TINY)
    assert network.modes is not None
    nn.init.normal_(network.modes.output.weight)  # else samples are all alike, untrained
    save_model(folder / "refsr", network)
    save_model(folder / "sisr", CompactSisr(**TINY))
    return folder


@pytest.fixture(scope="module")
def following(folder: Path) -> Following:
    return Following(Settings(model=str(folder / "refsr")), warm_up)


@pytest.fixture(scope="module")
def client(following: Following) -> Iterator[Client]:
    with serving(following, max_bytes=2**20, max_pixels=200_000) as client:
        yield client


def test_a_photo_with_references_is_answered_with_a_png(client: Client) -> None:
    portraits = [example.png(name) for name in example.NAMES[1:]]
    answer = client.upscale(example.png("photo"), *portraits, scale="3")
    assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
    assert answer.headers["x-content-type-options"] == "nosniff"
    with Image.open(io.BytesIO(answer.data)) as image:
        assert (image.size, image.info["Software"]) == ((48, 54), "refsr")
        assert "a guess" in image.info["Description"]


def test_json_has_boxes_scores_notes_and_the_picture(client: Client) -> None:
    picture, portrait = example.png("photo"), example.png("reference-1")
    answer = client.upscale(picture, portrait, accept="application/json")
    assert answer.status == 200
    result = json.loads(answer.data)
    assert result["model"] == {"name": "refsr", "version": ""}
    (face,) = result["faces"]
    assert 0 < face["box"]["left"] < 16 and face["restored"]
    assert 0 < face["added"] <= 1 and face["distance"] > 0
    assert face["fits"] == [None]  # an untrained model does not say
    assert any("guess" in note for note in result["notes"])
    with Image.open(io.BytesIO(base64.b64decode(result["image"]))) as image:
        assert image.size == (result["width"], result["height"])


def test_a_seed_draws_a_face_of_its_own(client: Client) -> None:
    draws = ({}, {"seed": "5"}, *({"temperature": "1", "seed": seed} for seed in "112"))
    given = [client.upscale(SMALL, crop="true", **each).data for each in draws]
    likely, same, one, again, two = given
    assert likely == same and one == again
    assert len({likely, one, two}) == 3


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 30), (30, 1)])
def test_a_photo_one_pixel_wide_is_answered(client: Client, width: int, height: int) -> None:
    thin = noise(width, height)
    assert client.upscale(thin, thin, crop="true").status == 200
    assert client.upscale(thin, SMALL).status in (200, 422)  # taken as a crop, or too large for one


def test_a_single_image_model_says_that_it_ignores_references(folder: Path) -> None:
    sisr = Following(Settings(model=str(folder / "sisr")), lambda _: None)
    with serving(sisr) as client:
        answer = client.upscale(SMALL, SMALL, crop="true", accept="application/json")
        assert "takes no reference" in json.loads(answer.data)["notes"][-1]


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("application/json", True),
        ("text/html, application/json;q=0.9, */*", True),
        ("image/png, application/json", False),
        ("*/*", False),
        ("", False),
        (",;,", False),
    ],
)
def test_json_is_sent_to_who_asks_for_it(accept: str, expected: bool) -> None:
    assert prefers_json(accept) is expected


FORMS: dict[str, tuple[list[tuple[str, Any]], str]] = {
    "no photo": ([("scale", "2")], "photo: Field required"),
    "mistyped": ([("photo", file(SMALL)), ("reference", "x")], "'reference': no such field; "),
    "text as photo": ([("photo", "x")], "photo: "),
    "empty": ([("photo", file(b""))], "photo: not a JPEG, PNG, WebP, AVIF or HEIF image"),
    "five": ([("photo", file(SMALL))] + [("references", file(SMALL))] * 5, "references: "),
    "reference": ([("photo", file(SMALL)), ("references", file(b"GIF8"))], "reference 1: not a"),
    "nan": ([("photo", file(SMALL)), ("scale", "nan")], "scale: "),
    "huge": ([("photo", file(SMALL)), ("scale", "1e999")], "scale: "),
    "temperature": ([("photo", file(SMALL)), ("temperature", "nan")], "temperature: "),
    "negative": ([("photo", file(SMALL)), ("sharpness", "-1")], "sharpness: "),
    "words": ([("photo", file(SMALL)), ("all_faces", "perhaps")], "all_faces: "),
    "no face": ([("photo", file(noise(200, 100)))], "the photo (200x100): no face is detected"),
    "pixels": ([("photo", file(noise(500, 401)))], "photo: 500x401 is too large; at most 200,000"),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_that_cannot_be_used_is_refused_in_one_sentence(name: str, client: Client) -> None:
    fields, message = FORMS[name]
    answer = client.post(fields)
    assert answer.status == 422
    assert detail(answer).startswith(message)
    assert "\n" not in detail(answer)


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "multipart/form-data", 400),
        (b"--x", "multipart/form-data; boundary=x", 422),
        (b"\0" * 99, "multipart/form-data; boundary=\xff", 400),
        (b"--x\r\nContent-Disposition: form-data\r\n\r\n", "multipart/form-data; boundary=x", 400),
        (b"{}", "application/json", 422),
        (b"photo=1", "application/x-www-form-urlencoded", 422),
        (b"x" * (2**20 + 1), "multipart/form-data; boundary=x", 413),
    ],
)
def test_a_body_that_is_no_form_is_refused(
    body: bytes,
    kind: str,
    status: int,
    client: Client,
) -> None:
    answer = client.send(body, content_type=kind)
    assert answer.status == status
    assert detail(answer)


def chunk(kind: bytes, data: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + check


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises more than it holds."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100_000))
    return PNG + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


BOMBS = [
    bomb(2**31 - 1, 2**31 - 1),
    bomb(0, 9),
    bomb(100, 100),
    b"\xff\xd8\xff\xd9",
    b"\x89PNG\r\n\x1a\n",
    b"RIFF\xff\xff\xff\xffWEBPVP8X",
    b'<svg onload="alert(1)"/>',
    b"PK\3\4" + bytes(100),
]
NAMES = ["../../etc/passwd", "a\0b", "x" * 5000, "\u202egnp.exe", "", '"; rm -rf /', "a\r\nX: y"]


def test_no_hostile_upload_makes_the_server_fail(client: Client) -> None:
    rng = np.random.default_rng(7)
    damaged = [pictures.mutate(rng)[1] for _ in range(UPLOADS - len(BOMBS))]
    statuses = []
    for number, content in enumerate([*BOMBS, *damaged]):
        name = NAMES[number % len(NAMES)]
        where = "photo" if number % 3 else "references"
        fields = [(where, file(content, name)), ("crop", "true"), ("scale", "2")]
        if where == "references":
            fields.append(("photo", file(SMALL)))
        answer = client.post(fields)
        statuses.append(answer.status)
        if answer.status != 200:
            assert detail(answer)
    assert len(statuses) == UPLOADS
    assert set(statuses) == {200, 400, 422}
    assert client.upscale(SMALL, crop="true").status == 200


def test_a_body_of_unknown_length_is_read_to_the_limit(client: Client) -> None:
    host, port = client.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        head = "POST /v1/upscale HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
        kind = "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        part = b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\n'
        connection.sendall((head + kind).encode() + b"%x\r\n%s\r\n" % (len(part), part))
        for _ in range(17):
            connection.sendall(b"10000\r\n" + bytes(2**16) + b"\r\n")
        assert connection.recv(12) == b"HTTP/1.1 413"


def test_when_all_places_are_taken_a_client_is_asked_to_come_again(following: Following) -> None:
    with serving(following, queue=1) as client:
        first = client.half_sent()
        client.until("/metrics", lambda text: "refsr_admitted 1.0" in text)
        answer = client.upscale(SMALL, crop="true")
        assert answer.status == 429
        assert int(answer.headers["retry-after"]) >= 1
        assert "busy" in detail(answer)
        first.close()
        client.until("/metrics", lambda text: "refsr_admitted 0.0" in text)
        assert client.upscale(SMALL, crop="true").status == 200


def test_a_request_that_takes_too_long_gives_its_place_back(following: Following) -> None:
    with serving(following, queue=1, timeout=0.3) as client, client.half_sent() as slow:
        assert slow.recv(12) == b"HTTP/1.1 503"
        client.until("/metrics", lambda text: "refsr_admitted 0.0" in text)


def test_a_token_opens_what_it_protects_and_no_log_line_has_it(
    following: Following, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("refsr.service.guard")
    logger.addHandler(caplog.handler)
    logger.setLevel(logging.DEBUG)
    fields = [("photo", file(SMALL, "grandma.png")), ("crop", "true")]
    with serving(following, token=TOKEN) as client:
        for given in ("", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer \xe4"):
            answer = client.post(fields, authorization=given)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert client.get("/metrics", authorization=given).status == 401
        for path in ("/", "/docs", "/healthz", "/readyz", "/example/photo.png"):
            assert client.get(path).status == 200
        assert client.post(fields, authorization=f"bearer {TOKEN}").status == 200
        client.get(f"/grandma/{TOKEN}")
    logger.removeHandler(caplog.handler)
    entries = [vars(record)["fields"] for record in caplog.records]
    (face,) = next(
        each["statistics"] for each in entries if each["status"] == 200 and "fits" in each
    )
    assert set(face) == set(STATISTICS)
    lines = [json.dumps(each) for each in entries]
    assert any('"size": "12x9"' in line and '"status": 200' in line for line in lines)
    assert not any("grandma" in line or TOKEN in line for line in lines)


def test_the_numbers_count_answers_and_name_the_model(client: Client) -> None:
    client.upscale(SMALL, crop="true")
    client.get("/nowhere")
    text = client.get("/metrics").data.decode()
    assert re.search(r'^refsr_requests_total\{path="/v1/upscale",status="200"\} [1-9]', text, re.M)
    assert re.search(r'^refsr_requests_total\{path="other",status="404"\} [1-9]', text, re.M)
    assert 'refsr_model{name="refsr",version=""} 1.0' in text
    (promised,) = re.findall(r"^refsr_promise_seconds (\S+)", text, re.M)
    assert 0 < float(promised) <= Settings("").timeout


def test_the_queue_promises_as_many_of_the_slowest_job_as_it_has_places() -> None:
    worker = Worker(3)
    for seconds in (0.0, 0.05, 0.0):
        worker.submit(lambda seconds=seconds: time.sleep(seconds)).result()
    assert worker.promise >= 3 * 0.05
    worker.end()


def test_the_reference_page_has_every_path_and_field_of_the_document(client: Client) -> None:
    document = json.loads(client.get("/openapi.json").data)
    shown = client.get("/docs").data.decode()
    assert {"/v1/upscale", "/healthz", "/readyz", "/metrics"} < set(document["paths"])
    form = next(each for name, each in document["components"]["schemas"].items() if "Body" in name)
    for word in (*document["paths"], *form["properties"], f"{client.url}/v1/upscale"):
        assert word in shown
    assert not re.search(r"(?:src|href)=\"https?:", shown)
