"""The Open Inference Protocol, as KServe's clients speak it."""

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from service_client import SMALL, Client, serving

from refsr.inference.photo import upscale_photo
from refsr.models.checkpoint import save_model
from refsr.models.compact import CompactRefsr
from refsr.service import example
from refsr.service.following import Following, Served
from refsr.service.inference_protocol import MOST
from refsr.service.settings import Settings
from refsr.version import __version__

TOKEN = "0123456789abcdef-secret"  # noqa: S105
PIXELS = np.arange(9 * 12 * 3, dtype=np.uint8).reshape(9, 12, 3)
FILE = base64.b64encode(SMALL).decode()
CROP = {"crop": True}
BODIES = 100


@pytest.fixture(scope="module")
def following(tmp_path_factory: pytest.TempPathFactory) -> Following:
    path = tmp_path_factory.mktemp("model") / "refsr"
    save_model(path, CompactRefsr(hr_size=32, scale=4, width=16, blocks=1))
    following = Following(Settings(model=str(path)), lambda _: None)
    following.served = Served(following.served.model, "refsr", "7")
    return following


@pytest.fixture(scope="module")
def client(following: Following) -> Iterator[Client]:
    with serving(following, max_bytes=2**20, max_pixels=200_000) as client:
        yield client


def tensor(name: str, datatype: str, shape: list[Any], data: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


PHOTO = tensor("photo", "BYTES", [1], [FILE])


def infer(client: Client, *inputs: Any, **fields: Any) -> tuple[int, Any]:
    body = json.dumps({"inputs": inputs, "parameters": CROP} | fields).encode()
    return sent(client, body)


def sent(client: Client, body: bytes, **headers: str) -> tuple[int, Any]:
    path, kind = "/v2/models/refsr/infer", {"content_type": "application/json"}
    answer = client.send(body, path=path, **(kind | headers))
    return answer.status, json.loads(answer.data)


def outputs(answer: Any) -> dict[str, Any]:
    return {each["name"]: each for each in answer["outputs"]}


def test_health_and_metadata_are_those_of_the_protocol(client: Client) -> None:
    def get(path: str) -> Any:
        return json.loads(client.get(path).data)

    assert get("/v2") == {"name": "refsr", "version": __version__, "extensions": []}
    assert get("/v2/health/live") == {"live": True}
    assert get("/v2/health/ready") == {"ready": True}
    assert get("/v2/models/refsr/ready") == {"name": "refsr", "ready": True}
    model = get("/v2/models/refsr")
    assert (model["name"], model["versions"], model["platform"]) == ("refsr", ["7"], "pytorch")
    assert model["inputs"][1] == {"name": "references", "datatype": "BYTES", "shape": [-1]}
    assert get("/v2/models/other") == {"error": "Not Found"}


def test_a_photo_and_references_as_files_are_answered_with_a_png(client: Client) -> None:
    photo, *references = (base64.b64encode(example.png(name)).decode() for name in example.NAMES)
    status, answer = infer(
        client,
        tensor("photo", "BYTES", [1], [photo]),
        tensor("references", "BYTES", [2], references),
        id="42",
        parameters={"scale": 3, "sequence_id": 1},
    )
    assert status == 200
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("42", "refsr", "7")
    result = outputs(answer)
    assert result["image"]["parameters"] == {"content_type": "base64"}
    with Image.open(io.BytesIO(base64.b64decode(result["image"]["data"][0]))) as image:
        assert image.size == (48, 54)
    assert result["boxes"]["shape"] == [1, 4]
    assert result["restored"]["data"] == [True]
    assert result["compatibility"]["shape"] == [1, 0]  # an untrained model does not say
    assert "a guess" in result["notes"]["data"][-1]


@pytest.mark.parametrize("nested", [True, False])
def test_pixels_are_answered_with_the_pixels_of_the_library(
    nested: bool, client: Client, following: Following
) -> None:
    data = PIXELS[None].tolist() if nested else PIXELS.ravel().tolist()
    photo = tensor("photo", "UINT8", [1, 9, 12, 3], data)
    reference = tensor("references", "UINT8", [9, 12, 3], data)
    status, answer = infer(client, photo, reference, outputs=[{"name": "image"}])
    assert status == 200
    (image,) = answer["outputs"]
    expected = upscale_photo(following.served.model, PIXELS, [PIXELS], crop=True).image
    assert image["shape"] == [1, *expected.shape]
    assert image["datatype"] == "UINT8"
    np.testing.assert_array_equal(np.reshape(image["data"], image["shape"]), expected[None])


NUMBERS = [0, 1, 2]
DEEP = b"[" * 100_000
HOSTILE: dict[str, tuple[Any, str]] = {
    "no photo": ([tensor("references", "BYTES", [1], [FILE])], "photo: one image is expected"),
    "two photos": ([PHOTO, PHOTO], "inputs: one `photo`"),
    "another name": ([tensor("\ud800", "BYTES", [1], [FILE])], "the body: Invalid JSON"),
    "many": ([tensor("photo", "BYTES", [2], [FILE] * 2)], "photo: one image is expected, not 2"),
    "five": ([PHOTO, tensor("references", "BYTES", [5], [FILE] * 5)], "references: at most 4"),
    "datatype": ([tensor("photo", "FP32", [1], [0.5])], "photo: datatype BYTES or UINT8"),
    "count": ([tensor("photo", "BYTES", [3], [FILE])], "photo: shape [3] for 1 elements"),
    "no text": ([tensor("photo", "BYTES", [1], [7])], "photo: an element is no text in base64"),
    "no base64": ([tensor("photo", "BYTES", [1], ["\u00fc!"])], "photo: an element is no text"),
    "no image": ([tensor("photo", "BYTES", [1], ["AAAA"])], "photo: not a JPEG, PNG or WebP"),
    "long": ([tensor("photo", "UINT8", [1, 1, 3], [*NUMBERS, 3])], "photo: shape [1, 1, 3] for 4"),
    "huge": ([tensor("photo", "UINT8", [9999, 9999, 3], NUMBERS)], "photo: 9999x9999 is too"),
    "batch": ([tensor("photo", "UINT8", [2**31 - 1, 1, 1, 3], NUMBERS)], "photo: shape [2147483"),
    "beyond": ([tensor("photo", "UINT8", [2**64, 1, 3], NUMBERS)], "inputs.0.shape.0: "),
    "negative": ([tensor("photo", "UINT8", [-1, -1, 3], NUMBERS)], "inputs.0.shape.0: "),
    "none": ([tensor("photo", "UINT8", [], NUMBERS)], "photo: shape (H, W, 3)"),
    "grey": ([tensor("photo", "UINT8", [1, 3, 1], NUMBERS)], "photo: shape (H, W, 3)"),
    "empty": ([tensor("photo", "UINT8", [0, 1, 3], [])], "photo: shape (H, W, 3)"),
    "256": ([tensor("photo", "UINT8", [1, 1, 3], [0, 1, 256])], "photo: integers from 0 to 255"),
    "half": ([tensor("photo", "UINT8", [1, 1, 3], [0, 1, 0.5])], "photo: integers from 0 to 255"),
    "nan": ([tensor("photo", "UINT8", [1, 1, 3], [0, 1, float("nan")])], "photo: integers from"),
    "words": ([tensor("photo", "UINT8", [1, 1, 3], ["x", "y", None])], "photo: integers from"),
    "ragged": ([tensor("photo", "UINT8", [1, 1, 3], [[[0]], 1, 2])], "photo: integers from"),
    "one number": ([tensor("photo", "UINT8", [1, 1, 3], 7)], "inputs.0.data: "),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_tensors_that_cannot_be_used_are_refused_in_one_sentence(name: str, client: Client) -> None:
    inputs, message = HOSTILE[name]
    status, answer = infer(client, *inputs)
    assert status == 400
    assert set(answer) == {"error"}
    assert answer["error"].startswith(message)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"inputs": []}, "inputs: "),
        ({"inputs": [PHOTO] * 3}, "inputs: "),
        ({"id": 7}, "id: "),
        ({"id": "\ud800"}, "the body: Invalid JSON"),
        ({"parameters": {"scale": 99}}, "parameters.scale: "),
        ({"parameters": {"sharpness": float("nan")}}, "parameters.sharpness: "),
        ({"outputs": [{"name": "video"}]}, "outputs.0.name: "),
        ({"parameters": {"scale": 16, "sharpness": 0, **CROP}}, "image: "),
    ],
)
def test_fields_that_cannot_be_used_are_refused_too(
    fields: dict[str, Any], message: str, client: Client
) -> None:
    photo = tensor("photo", "UINT8", [80, 80, 3], [0] * 80 * 80 * 3)
    status, answer = infer(client, *fields.pop("inputs", [photo]), **fields)
    assert status == 400
    assert answer["error"].startswith(message)


@pytest.mark.parametrize("body", [b"", b"{", b"7", b"null", b"\xff\xfe", DEEP, b"1" * 5000])
def test_a_body_that_is_no_request_is_refused(body: bytes, client: Client) -> None:
    status, answer = sent(client, body)
    assert status == 400
    assert set(answer) == {"error"}


def test_no_damaged_body_makes_the_server_fail(client: Client) -> None:
    rng = np.random.default_rng(5)
    whole = json.dumps({"id": "1", "inputs": [PHOTO], "parameters": CROP}).encode()
    pieces = [b"null", b"-1", b"1e999", b"[]", b"{}", b'"', b"\\", b"\xff", b"[[", b"}", b"9" * 400]
    statuses = set()
    for _ in range(BODIES):
        start, length = rng.integers(len(whole)), rng.integers(12)
        piece = pieces[rng.integers(len(pieces))]
        status, answer = sent(client, whole[:start] + piece + whole[start + length :])
        statuses.add(status)
        assert status == 200 or set(answer) == {"error"}
    assert statuses <= {200, 400}
    assert infer(client, PHOTO)[0] == 200


def test_what_the_server_cannot_do_or_take_is_said_with_the_protocol_s_errors(
    client: Client, following: Following
) -> None:
    status, answer = sent(client, b"x" * (2**20 + 1))
    assert (status, set(answer)) == (413, {"error"})
    with serving(following, max_bytes=2 * MOST) as large:
        status, answer = sent(large, b" " * (MOST + 1))
        assert (status, set(answer)) == (413, {"error"})
    request = json.dumps({"inputs": [PHOTO], "parameters": CROP}).encode()
    status, answer = sent(
        client,
        request,
        inference_header_content_length="9",
        content_type="application/octet-stream",
    )
    assert status == 400
    assert "binary data" in answer["error"]
    with serving(following, token=TOKEN, queue=1) as closed:
        assert sent(closed, request)[0] == 401
        assert closed.get("/v2/health/ready").status == 200
        allowed = {"authorization": f"Bearer {TOKEN}"}
        assert sent(closed, request, **allowed)[0] == 200
        with closed.half_sent(authorization=f"Bearer {TOKEN}"):
            closed.until(
                "/metrics", lambda text: "refsr_admitted 1.0" in text, **allowed
            )  # the one place is taken
            status, answer = sent(closed, request, **allowed)
            assert (status, set(answer)) == (429, {"error"})
