"""Requests and answers of the Open Inference Protocol, version 2."""

from typing import Literal, get_args

from pydantic import BaseModel, Field

from refsr.inference.options import MAX_SCALE, MOST_TEMPERATURE, SEEDS, SHARPNESS
from refsr.service.tensors import Metadata, OutputTensor, Tensor

INPUTS = ("photo", "references")
OutputName = Literal["image", "boxes", "restored", "added", "compatibility", "notes"]


class Failure(BaseModel):
    """Why there is no answer, in one sentence."""

    error: str


class ServerMetadata(BaseModel):
    """The server."""

    name: str
    version: str
    extensions: list[str]


class Live(BaseModel):
    """Whether the process works."""

    live: bool


class Ready(BaseModel):
    """Whether a model is loaded."""

    ready: bool


class ModelReady(Ready):
    """Likewise of one model."""

    name: str


class ModelMetadata(BaseModel):
    """What the model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[Metadata]
    outputs: list[Metadata]


class Parameters(BaseModel):
    """As the fields of /v1/upscale; others are ignored."""

    scale: float | None = Field(default=None, ge=1, le=MAX_SCALE)
    sharpness: float = Field(default=SHARPNESS, ge=0, le=1)
    all_faces: bool = False
    crop: bool = False
    drop_misfits: bool = False
    temperature: float = Field(default=0, ge=0, le=MOST_TEMPERATURE)
    seed: int = Field(default=0, ge=0, lt=SEEDS)


class RequestedOutput(BaseModel):
    """An output that is asked for."""

    name: OutputName


class InferRequest(BaseModel):
    """A photo, and up to four references."""

    id: str | None = None
    parameters: Parameters = Parameters()
    inputs: list[Tensor] = Field(min_length=1, max_length=len(INPUTS))
    outputs: list[RequestedOutput] = Field(
        default=[], max_length=len(get_args(OutputName)), description="Left out: all of them"
    )


class InferAnswer(BaseModel):
    """The enlarged photo, and what is known of its faces."""

    id: str | None = None
    model_name: str
    model_version: str | None = None
    outputs: list[OutputTensor]
