"""What a request asks for, the job that does it, and what is answered."""

import base64
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from PIL import Image, PngImagePlugin
from pydantic import BaseModel, Field

from refsr.inference.images import decode_image
from refsr.inference.photo import EnlargedPhoto, RestoredFace, upscale_photo
from refsr.service.following import Served

_COMPRESSION = 3  # of PNG; more takes longer than it saves
_IGNORED = "This model takes no reference: those of the request change nothing."


@dataclass(frozen=True)
class Options:
    """See `refsr.inference.photo.enlarge`."""

    scale: float | None
    sharpness: float
    all_faces: bool
    crop: bool
    drop_misfits: bool
    temperature: float
    seed: int


@dataclass(frozen=True)
class Uploads:
    """The images of a request: files, or (H, W, 3) uint8 RGB."""

    photo: bytes | np.ndarray
    references: Sequence[bytes | np.ndarray]


@dataclass(frozen=True)
class Enlarged:
    """The result of a request."""

    photo: EnlargedPhoto
    png: bytes
    size: tuple[int, int]  # width and height of the photo before
    references: int
    served: Served


class Box(BaseModel):
    """A rectangle in pixels of the uploaded photo, turned upright by its EXIF."""

    left: float
    top: float
    width: float
    height: float


class FaceResult(BaseModel):
    """A face of the photo."""

    box: Box
    restored: bool = Field(description="Whether the network enlarged it; else a plain filter did")
    added: float = Field(description="In [0, 1]: the share of the network's finer detail")
    distance: float | None = Field(
        description="To the references; under 0.6 is usually the same person. null: not compared"
    )
    fits: list[float | None] = Field(
        description="Of each reference the probability that it shows this person; null: not known"
    )


class ModelResult(BaseModel):
    """The model that made the result."""

    name: str
    version: str = Field(description="Its number in the registry; empty for a file")


class Result(BaseModel):
    """The answer as JSON."""

    model: ModelResult
    scale: float = Field(description="How many times the photo was enlarged")
    width: int = Field(description="Of the enlarged photo, pixels")
    height: int
    faces: list[FaceResult] = Field(description="Large and central ones first")
    notes: list[str] = Field(description="Plain sentences that its reader should see")
    image: str = Field(description="The enlarged photo: PNG, in base64")


class Problem(BaseModel):
    """Why there is no result, in one sentence."""

    detail: str


def enlarge(served: Served, uploads: Uploads, options: Options, most: int) -> Enlarged:
    """Do what a request asks for.

    Args:
        served: The model.
        uploads: Files of any content.
        options: How the photo is enlarged.
        most: Pixels that are decoded of a file.

    Returns:
        The photo as a PNG, and what the answer says of it.

    Raises:
        RefsrError: A file is no photo that can be used, or an option does not fit it.
    """
    photo = _decoded(uploads.photo, "photo", most)
    references = [
        _decoded(image, f"reference {number}", most)
        for number, image in enumerate(uploads.references, 1)
    ]
    enlarged = _upscaled(served, photo, references, options)
    height, width = photo.shape[:2]
    return Enlarged(enlarged, _png(enlarged), (width, height), len(references), served)


def _decoded(image: bytes | np.ndarray, name: str, most: int) -> np.ndarray:
    return decode_image(image, name, most) if isinstance(image, bytes) else image


def _upscaled(
    served: Served, photo: np.ndarray, references: list[np.ndarray], options: Options
) -> EnlargedPhoto:
    used = references if served.model.uses_reference else []
    enlarged = upscale_photo(served.model, photo, used, **asdict(options))
    if len(used) == len(references):
        return enlarged
    return replace(enlarged, notes=(*enlarged.notes, _IGNORED))


def as_json(enlarged: Enlarged) -> Result:
    """The answer with boxes, scores and notes."""
    photo, served = enlarged.photo, enlarged.served
    height, width = photo.image.shape[:2]
    return Result(
        model=ModelResult(name=served.name, version=served.version),
        scale=photo.scale,
        width=width,
        height=height,
        faces=[_face(each) for each in photo.faces],
        notes=list(photo.notes),
        image=base64.b64encode(enlarged.png).decode(),
    )


def logged(enlarged: Enlarged) -> dict[str, object]:
    """What the log says of a request: sizes and numbers, no picture and no name."""
    photo = enlarged.photo
    restored = [face for face in photo.faces if face.restored]
    sides = [round(max(face.box[2:])) for face in restored]
    return {
        "version": enlarged.served.version,
        "size": "{}x{}".format(*enlarged.size),
        "references": enlarged.references,
        "scale": round(photo.scale, 3),
        "faces": len(photo.faces),
        "restored": sides,
        "added": [round(face.added, 3) for face in restored],
        "fits": [[fit and round(fit, 3) for fit in face.fits] for face in restored],
        "statistics": [face.statistics for face in restored],
        "distance": [face.distance and round(face.distance, 3) for face in restored],
    }


def _face(face: RestoredFace) -> FaceResult:
    left, top, width, height = face.box
    box = Box(left=left, top=top, width=width, height=height)
    return FaceResult(
        box=box,
        restored=face.restored,
        added=face.added,
        distance=face.distance,
        fits=list(face.fits),
    )


def _png(photo: EnlargedPhoto) -> bytes:
    """A PNG whose texts name refsr and hold the notes."""
    text = PngImagePlugin.PngInfo()
    text.add_text("Software", "refsr")
    text.add_itxt("Description", " ".join(photo.notes))
    target = io.BytesIO()
    image = Image.fromarray(photo.image)
    image.save(target, "PNG", compress_level=_COMPRESSION, pnginfo=text)
    return target.getvalue()
