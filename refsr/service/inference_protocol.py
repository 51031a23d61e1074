"""The Open Inference Protocol, version 2, over HTTP: what KServe's clients speak."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from fastapi import FastAPI, HTTPException, Request, params
from fastapi.responses import Response
from pydantic import ValidationError
from pydantic.json_schema import models_json_schema

from refsr.errors import RefsrError
from refsr.inference.photo import RestoredFace
from refsr.service.following import Following
from refsr.service.guard import FIELDS, place_of
from refsr.service.messages import (
    INPUTS,
    Failure,
    InferAnswer,
    InferRequest,
    Live,
    ModelMetadata,
    ModelReady,
    Ready,
    ServerMetadata,
)
from refsr.service.metrics import Metrics
from refsr.service.results import Enlarged, Options, Uploads, enlarge, logged
from refsr.service.settings import MAX_REFERENCES, Settings
from refsr.service.tensors import (
    Metadata,
    OutputTensor,
    file_tensor,
    images_of,
    number_tensor,
    text_tensor,
)
from refsr.version import __version__

ROOT = "/v2"
NAME = "refsr"  # of the model in the paths, whatever the registry calls it
MODEL = f"{ROOT}/models/{NAME}"
INFER = f"{MODEL}/infer"
_BINARY = "inference-header-content-length"  # of an extension that this server has not
MOST = 16 * 2**20  # bytes of a body; its numbers take 40 times as much while they are read
_TYPES = "#/components/schemas/"
_BODY = {"schema": {"$ref": f"{_TYPES}InferRequest"}}
_INPUTS = [
    Metadata(name="photo", datatype="BYTES", shape=[1]),
    Metadata(name="references", datatype="BYTES", shape=[-1]),
]
_OUTPUTS = {
    "image": Metadata(name="image", datatype="BYTES", shape=[1]),
    "boxes": Metadata(name="boxes", datatype="FP32", shape=[-1, 4]),
    "restored": Metadata(name="restored", datatype="BOOL", shape=[-1]),
    "added": Metadata(name="added", datatype="FP32", shape=[-1]),
    "compatibility": Metadata(name="compatibility", datatype="FP32", shape=[-1, -1]),
    "notes": Metadata(name="notes", datatype="BYTES", shape=[-1]),
}


class Service(NamedTuple):
    """What the paths need."""

    settings: Settings
    following: Following
    metrics: Metrics
    is_live: Callable[[], bool]


Answers = Mapping[int | str, Mapping[str, Any]]
Faces = Sequence[RestoredFace]


def add_inference_protocol(
    app: FastAPI, service: Service, answers: Answers, token: Sequence[params.Depends]
) -> None:
    """Add the paths of the protocol.

    Args:
        app: The application.
        service: What they need.
        answers: Of POST /v1/upscale, by status; here with the form of this protocol.
        token: What the document says of the token.
    """
    _add_health(app, service)
    failures: dict[int | str, dict[str, Any]] = {
        status: {**answer, "model": Failure}
        for status, answer in answers.items()
        if status not in (200, 422)
    }

    @app.post(
        INFER,
        summary="Enlarge a photo",
        response_model=InferAnswer,
        responses=failures,
        dependencies=token,
        openapi_extra={"requestBody": {"required": True, "content": {"application/json": _BODY}}},
    )
    async def infer(request: Request) -> Response:
        """Open Inference Protocol: `photo` and `references` as BYTES (files in base64) or UINT8."""
        _require_json(request)
        most, served = service.settings.max_pixels, service.following.served
        content = await request.body()
        if len(content) > MOST:
            raise HTTPException(413, f"the JSON is too large: at most {MOST:,} bytes are read")

        def work() -> tuple[Enlarged, Response]:  # one body at a time is in memory as numbers
            body = _parsed(content)
            uploads = uploads_of(body, most)
            options = Options(**body.parameters.model_dump())
            enlarged = enlarge(served, uploads, options, most)
            return enlarged, _answer(body, uploads, enlarged)

        enlarged, response = await place_of(request.scope).run(work)
        service.metrics.restored(sum(face.restored for face in enlarged.photo.faces))
        request.scope[FIELDS] |= logged(enlarged)
        return response


def add_schemas(document: dict[str, Any]) -> dict[str, Any]:
    """Add to an OpenAPI document the types of the body, which FastAPI does not parse here."""
    types = models_json_schema([(InferRequest, "validation")], ref_template=_TYPES + "{model}")
    document["components"]["schemas"] |= types[1]["$defs"]
    return document


def _parsed(content: bytes) -> InferRequest:
    try:
        return InferRequest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"])) or "the body"
        raise RefsrError(f"{field}: {first['msg']}") from error


def _require_json(request: Request) -> None:
    if _BINARY in request.headers:
        way = "set_data_from_numpy(..., binary_data=False) with KServe's client"
        raise RefsrError(f"send tensors in the JSON, not as binary data after it: {way}")


def _add_health(app: FastAPI, service: Service) -> None:
    hangs: dict[int | str, dict[str, Any]] = {503: {"model": Live, "description": "A job hangs"}}

    @app.get(ROOT, summary="Name and version of the server")
    async def server() -> ServerMetadata:
        """Open Inference Protocol, version 2."""
        return ServerMetadata(name=NAME, version=__version__, extensions=[])

    @app.get(f"{ROOT}/health/live", summary="Whether the process works", responses=hangs)
    async def live(response: Response) -> Live:
        """As /healthz."""
        alive = service.is_live()
        response.status_code = 200 if alive else 503
        return Live(live=alive)

    @app.get(f"{ROOT}/health/ready", summary="Whether a model is loaded")
    async def ready() -> Ready:
        """As /readyz."""
        return Ready(ready=True)

    @app.get(MODEL, summary="Inputs and outputs of the model")
    async def model() -> ModelMetadata:
        """UINT8 of shape (1, H, W, 3) is taken and given too."""
        version = service.following.served.version
        return ModelMetadata(
            name=NAME,
            versions=[version] if version else [],
            platform="onnx" if service.following.served.name.endswith(".onnx") else "pytorch",
            inputs=_INPUTS,
            outputs=[*_OUTPUTS.values()],
        )

    @app.get(f"{MODEL}/ready", summary="Whether the model is loaded")
    async def model_ready() -> ModelReady:
        """As /readyz."""
        return ModelReady(name=NAME, ready=True)


def uploads_of(body: InferRequest, most: int) -> Uploads:
    """The images of a request. Raises RefsrError where the tensors are not what is expected."""
    images: dict[str, list[bytes | np.ndarray]] = {}
    for tensor in body.inputs:
        if tensor.name in images or tensor.name not in INPUTS:
            raise RefsrError("inputs: one `photo` and one `references` at most are expected")
        images[tensor.name] = images_of(tensor, most)
    photos, references = images.get("photo", []), images.get("references", [])
    if len(photos) != 1:
        raise RefsrError(f"photo: one image is expected, not {len(photos)}")
    if len(references) > MAX_REFERENCES:
        raise RefsrError(f"references: at most {MAX_REFERENCES} images, not {len(references)}")
    return Uploads(photos[0], references)


def _answer(body: InferRequest, uploads: Uploads, enlarged: Enlarged) -> Response:
    names: list[str] = [each.name for each in body.outputs]
    as_pixels = isinstance(uploads.photo, np.ndarray)
    answer = InferAnswer(
        id=body.id,
        model_name=NAME,
        model_version=enlarged.served.version or None,
        outputs=[
            _output(name, enlarged, as_pixels=as_pixels)
            for name in dict.fromkeys(names or _OUTPUTS)
        ],
    )
    return Response(answer.model_dump_json(exclude_none=True), media_type="application/json")


def _output(name: str, enlarged: Enlarged, *, as_pixels: bool) -> OutputTensor:
    photo = enlarged.photo
    if name == "image" and as_pixels:
        return number_tensor(name, "UINT8", photo.image[None])
    if name == "image":
        return file_tensor(name, enlarged.png)
    if name == "notes":
        return text_tensor(name, photo.notes)
    return number_tensor(name, _OUTPUTS[name].datatype, _NUMBERS[name](photo.faces))


def _compatibility(faces: Faces) -> np.ndarray:
    """(K, R), or (K, 0) where the model does not say."""
    known = [[fit for fit in face.fits if fit is not None] for face in faces]
    return np.array(known).reshape(len(known), -1)


_NUMBERS: dict[str, Callable[[Faces], np.ndarray]] = {
    "boxes": lambda faces: np.array([face.box for face in faces]),
    "restored": lambda faces: np.array([face.restored for face in faces]),
    "added": lambda faces: np.array([face.added for face in faces]),
    "compatibility": _compatibility,
}
