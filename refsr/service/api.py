"""The application: its paths, and how errors are answered."""

import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields
from functools import cache
from typing import Annotated, Any

import python_multipart as _forms  # noqa: F401  FastAPI reads forms by it, and misses it late
from fastapi import Depends, FastAPI, File, Form, Request, UploadFile, params
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from refsr.errors import RefsrError
from refsr.inference.options import MAX_SCALE, MOST_TEMPERATURE, SEEDS, SHARPNESS
from refsr.io.exhausted import shortage
from refsr.service import example
from refsr.service.following import Following
from refsr.service.guard import FIELDS, Guard, place_of, problem
from refsr.service.inference_protocol import (
    INFER,
    ROOT,
    Service,
    add_inference_protocol,
    add_schemas,
)
from refsr.service.metrics import CONTENT_TYPE, Metrics
from refsr.service.pages import page, reference
from refsr.service.results import (
    ModelResult,
    Options,
    Problem,
    Result,
    Uploads,
    as_json,
    enlarge,
    logged,
)
from refsr.service.settings import MAX_REFERENCES, Settings
from refsr.service.worker import Worker
from refsr.version import __version__

_logger = logging.getLogger(__name__)
UPSCALE = "/v1/upscale"
_SHOWN = 40  # characters of a name in a message
_STUCK = 5  # times the time limit of a request, after which a job is taken to hang
_PNG, _JSON = "image/png", "application/json"
_ABOUT = (
    "A small photo of a person and good photos of the same person in, the photo enlarged with its "
    "face restored out. Details of the face are a guess of a neural network: no evidence of who "
    "it is."
)
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The enlarged photo: PNG, or JSON where `Accept` asks for it",
        "content": {_PNG: {"schema": {"type": "string", "format": "binary"}}},
        "model": Result,
    },
    **{
        status: {"model": Problem, "description": text}
        for status, text in {
            400: "The body is no form",
            401: "The token is missing or wrong",
            413: "The body is too large",
            422: "A photo or an option cannot be used",
            429: "All places are taken; see the header Retry-After",
            503: "There was no result in time; see the header Retry-After",
        }.items()
    },
}
_HEALTH: dict[int | str, dict[str, Any]] = {503: {"model": Problem, "description": "A job hangs"}}
_TOKEN = Depends(HTTPBearer(auto_error=False))

Photo = Annotated[UploadFile, File(description="The small photo: JPEG, PNG, WebP, AVIF or HEIF")]
References = Annotated[
    list[UploadFile],
    File(description="Good photos of the same person", max_length=MAX_REFERENCES),
]
Scale = Annotated[
    float | None,
    Form(
        ge=1,
        le=MAX_SCALE,
        description="How many times the photo is enlarged; left out: so that the face keeps all "
        "pixels that the network gives",
        examples=[4],
    ),
]
Sharpness = Annotated[
    float, Form(ge=0, le=1, description="The share of the network's detail; 0: a plain filter")
]
AllFaces = Annotated[
    bool, Form(description="Restore every face, not only the one that fits the references")
]
Crop = Annotated[
    bool, Form(description="The photos are crops of faces as in training: none is sought")
]
DropMisfits = Annotated[bool, Form(description="Do without references that do not fit the face")]
Temperature = Annotated[
    float,
    Form(
        ge=0,
        le=MOST_TEMPERATURE,
        description="0: the most likely face; 1: one that the model takes for possible",
    ),
]
Seed = Annotated[int, Form(ge=0, le=SEEDS - 1, description="Of the face that is drawn")]


def create_app(settings: Settings, following: Following) -> ASGIApp:
    """The application of one server.

    Args:
        settings: Its limits.
        following: Has the model.

    Returns:
        What a server such as uvicorn runs.
    """
    worker = Worker(settings.queue, settings.threads)
    metrics = Metrics(worker, following, settings.timeout)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        following.follow(settings.poll)
        yield
        following.end()
        worker.end()

    app = FastAPI(
        title="refsr",
        version=__version__,
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    _add_errors(app)
    _add_upscale(app, settings, following, metrics)
    _add_probes(app, settings, following, worker, metrics)
    service = Service(settings, following, metrics, lambda: not _hangs(worker, settings))
    add_inference_protocol(app, service, _ANSWERS, _token(settings))
    _add_pages(app)
    own = app.openapi
    app.openapi = cache(lambda: add_schemas(own()))  # type: ignore[method-assign]
    paths = frozenset(getattr(route, "path", "") for route in app.routes)
    return Guard(app, settings, worker, metrics, paths, frozenset((UPSCALE, INFER)))


def _hangs(worker: Worker, settings: Settings) -> bool:
    return worker.running > _STUCK * settings.timeout


def _token(settings: Settings) -> Sequence[params.Depends]:
    """For the document alone: the guard compares the token."""
    return [_TOKEN] if settings.token else []


def _add_upscale(app: FastAPI, settings: Settings, following: Following, metrics: Metrics) -> None:
    @app.post(
        UPSCALE,
        summary="Enlarge a photo",
        response_class=Response,
        responses=_ANSWERS,
        dependencies=_token(settings),
    )
    async def upscale(
        request: Request,
        photo: Photo,
        references: References = [],  # noqa: B006  FastAPI copies it
        scale: Scale = None,
        sharpness: Sharpness = SHARPNESS,
        all_faces: AllFaces = False,
        crop: Crop = False,
        drop_misfits: DropMisfits = False,
        temperature: Temperature = 0,
        seed: Seed = 0,
    ) -> Response:
        """`curl -F photo=@small.jpg -F references=@portrait.jpg -o large.png URL/v1/upscale`"""
        _require_known(await request.form())
        uploads = Uploads(await photo.read(), [await each.read() for each in references])
        options = Options(scale, sharpness, all_faces, crop, drop_misfits, temperature, seed)
        served, most = following.served, settings.max_pixels
        place = place_of(request.scope)
        enlarged = await place.run(lambda: enlarge(served, uploads, options, most))
        metrics.restored(sum(face.restored for face in enlarged.photo.faces))
        request.scope[FIELDS] |= logged(enlarged)
        if prefers_json(request.headers.get("accept", "")):
            return JSONResponse(as_json(enlarged).model_dump())
        return Response(enlarged.png, media_type=_PNG)


def _require_known(names: Iterable[str]) -> None:
    """Raises RefsrError for a field that is none: a mistyped one would change nothing."""
    known = ("photo", "references", *(each.name for each in fields(Options)))
    for name in names:
        if name not in known:
            shown = name[:_SHOWN]
            raise RefsrError(f"{shown!r}: no such field; there are {', '.join(known)}")


def prefers_json(accept: str) -> bool:
    """Whether a header Accept names JSON before it names what a PNG is too."""
    kinds = [each.partition(";")[0].strip().lower() for each in accept.split(",")]
    known = (_JSON, "application/*", _PNG, "image/*", "*/*")
    return next((kind for kind in kinds if kind in known), "").startswith("application/")


def _add_probes(
    app: FastAPI, settings: Settings, following: Following, worker: Worker, metrics: Metrics
) -> None:
    @app.get("/healthz", summary="Whether the process works", responses=_HEALTH)
    async def healthz() -> JSONResponse:
        """200, or 503 where a job hangs: then restart it."""
        if _hangs(worker, settings):
            return JSONResponse({"detail": f"a job runs for {worker.running:.0f} s"}, 503)
        return JSONResponse({"status": "ok"})

    @app.get("/readyz", summary="Whether a model is loaded")
    async def readyz() -> ModelResult:
        """The model that is served; the server listens once it has one."""
        served = following.served
        return ModelResult(name=served.name, version=served.version)

    @app.get(
        "/metrics",
        summary="Numbers for Prometheus",
        response_class=PlainTextResponse,
        responses={401: _ANSWERS[401]},
        dependencies=_token(settings),
    )
    async def numbers() -> Response:
        """Requests, seconds, places taken, the version."""
        return Response(metrics.text(), media_type=CONTENT_TYPE)


def _add_pages(app: FastAPI) -> None:
    @app.get("/example/{name}.png", include_in_schema=False)
    def picture(name: str) -> Response:
        """`photo`, `reference-1` or `reference-2`: rendered, nobody's face."""
        if name not in example.NAMES:
            raise HTTPException(404, f"there is no example of that name: {example.NAMES}")
        return Response(example.png(name), media_type=_PNG)

    @app.get("/", include_in_schema=False)
    def root() -> Response:
        return page("page.html")

    @app.get("/docs", include_in_schema=False)
    def docs(request: Request) -> Response:
        return reference(app.openapi(), request)


def _add_errors(app: FastAPI) -> None:
    """Every error is answered with one sentence."""

    @app.exception_handler(RefsrError)
    async def unusable(request: Request, error: RefsrError) -> JSONResponse:
        detail = str(error).replace("(--crop)", "(crop=true)")  # the form's name of the option
        return _problem(request, detail, _unusable(request))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return _problem(request, _sentence(error), _unusable(request))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        return _problem(request, str(error.detail), error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        if shortage(error):
            return _problem(request, "the server is short of memory or disk", 503)
        return _problem(request, "a fault of the server; its log has it", 500)


def _problem(
    request: Request, detail: str, status: int, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    return JSONResponse(problem(request.scope, detail), status, headers)


def _unusable(request: Request) -> int:
    """The status that each protocol has for a request that cannot be used."""
    return 400 if request.url.path.startswith(ROOT) else 422


def _sentence(error: RequestValidationError) -> str:
    """The first fault of a form, by the field's name."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:]) or "the body"
    return f"{field}: {first['msg']}"
