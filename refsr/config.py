"""The parameters: one frozen class per stage, named after the stage.

`params.yaml` has one section per stage. An unknown key, a wrong type or a value out of range is an
error that names the file, the key and the value. A whole float is read as an integer (8.0 -> 8),
because Kubeflow passes integers as floats; booleans and strings are not. Every number has bounds:
those of the code that uses it, or what no machine could compute. Those of the trainings are in
refsr.training_config.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictBool, field_validator, model_validator

from refsr.parameter_types import (
    BatchSize,
    Count,
    Difference,
    FilePath,
    HrSize,
    Identity,
    ModelName,
    OtherModel,
    People,
    Real,
    Seed,
    Share,
    Whole,
    optional_path,
    words_of,
)
from refsr.sections import Range as Range
from refsr.sections import Section as Section
from refsr.training_config import Loss as Loss
from refsr.training_config import Sharpen as Sharpen
from refsr.training_config import Training as Training
from refsr.training_config import TrainRefsr as TrainRefsr
from refsr.training_config import TrainSisr as TrainSisr


class Synthesize(Section):
    """Render a raw set of faces."""

    seed: Seed = 0
    train_identities: People = 240
    test_identities: People = 60
    validation_identities: Count = 0  # further ones in train/, so that `curate` can take as many
    views: Annotated[Whole, Field(ge=1, le=1000)] = 8  # sound images of an identity
    min_size: Annotated[Whole, Field(ge=32, le=1024)] = 80  # least side of an image, pixels
    max_size: Annotated[Whole, Field(ge=32, le=1024)] = 400  # greatest side of an image, pixels
    defects: Annotated[Whole, Field(ge=0, le=10_000)] = 12  # planted images of each kind of defect
    # Images with a bystander, as many rotated ones, and people under two names. A set that has any
    # is one of photos: a folder per person, without box files.
    scenes: Annotated[Whole, Field(ge=0, le=1000)] = 0

    @model_validator(mode="after")
    def _ordered(self) -> "Synthesize":
        if self.min_size > self.max_size:
            raise ValueError(f"min_size {self.min_size} is above max_size {self.max_size}")
        return self


class Curate(Section):
    """Select and crop the images of a raw set. Sizes are in raw pixels, angles in degrees."""

    seed: Seed = 0
    licence: Annotated[str, Field(max_length=200)] = ""  # of the raw set; the model card names it
    anonymous: StrictBool = (
        False  # reports show hashes instead of names; the manifest keeps the names
    )
    # The identities to choose from: "all", a list, or a file that lists one per line.
    identities: Literal["all"] | tuple[Identity, ...] = "all"
    splits: Literal["auto", "own", "drawn"] = "auto"  # drawn at random; auto: own if it has both
    sex: Literal["any", "balanced", "f", "m"] = "any"  # balanced: while there are both
    train_identities: People | Literal["all"] = 428
    test_identities: People | Literal["all"] = 428
    validation_identities: Count | Literal["auto"] = "auto"  # a tenth as many as for training
    train_images: Range = Range(min=2, max=30)  # per training identity, including its reference
    test_images: Range = Range(min=1, max=4)  # the same of others, without its reference
    hr_size: HrSize = 128  # side of the HR images, pixels
    crop: Literal["loose", "aligned"] = "aligned"  # around the box, or upright by the landmarks
    crop_factor: Annotated[Real, Field(ge=1, le=3)] = 1.3  # crop side / longer side of the face box
    shards: Literal["raw", "jpeg"] = "raw"  # fast, or small: see refsr.dataset.pixel_shards
    shard_images: Annotated[Whole, Field(ge=1, le=2**20)] = 4096  # images in a shard
    min_box: Annotated[Whole, Field(ge=1, le=10_000)] = 40  # shorter side of the face box
    max_cut: Share = 0.25  # share of the face box outside the image
    max_yaw: Annotated[Real, Field(gt=0, le=90)] = 75.0
    min_sharpness: Share = 0.22  # see refsr.curation.image_stats.sharpness
    min_face_probability: Share = 0.5  # of MTCNN for the crop; near 0 for a hidden face
    min_reference_probability: Share = 0.95  # the same, of a reference
    max_duplicate_bits: Annotated[Whole, Field(ge=0, le=64)] = 8  # of two 64-bit difference hashes
    max_identity_distance: Annotated[Real, Field(gt=0, le=2)] = 0.65  # of dlib, to the mean face

    @field_validator("identities", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        if value == "all":
            return value
        listed = words_of(value) if isinstance(value, str) else value
        if isinstance(listed, list | tuple) and not listed:
            file = f"{value}: " if isinstance(value, str) else ""
            raise ValueError(f"{file}names nobody; list names of folders, or write `all`")
        return tuple(listed) if isinstance(listed, list) else listed


class Validate(Section):
    """Check a curated set."""

    sample: Annotated[Whole, Field(ge=1, le=10**6)] = 256  # images whose pixels are checked
    seed: Seed = 0
    min_train_identities: People = 2
    min_validation_identities: Count = 0
    min_test_identities: People = 1


class Evaluate(Section):
    """How much is evaluated; the protocol itself is fixed in refsr.evaluation."""

    seed: Seed = 0
    split: Literal["test", "validation"] = "test"  # validation: to choose between models
    batch_size: BatchSize = 32
    bootstrap: Annotated[Whole, Field(ge=100, le=100_000)] = 2000  # resamples of an interval
    strips: Annotated[Whole, Field(ge=1, le=100)] = 3  # identities shown as best, median and worst
    grid: Annotated[Whole, Field(ge=1, le=50)] = 6  # side of the identity-transfer grid
    samples: Annotated[Whole, Field(ge=2, le=1000)] = 8  # per image whose diversity is measured
    kid_images: Annotated[Whole, Field(ge=2, le=100_000)] = 240  # training images, at most
    robustness: Count = 0  # images of each person that are also degraded in other ways; 0: none
    lpips: FilePath | None = None  # a file of weights, see models.pretrained.lpips; None: no LPIPS
    # name -> checkpoint of another RefSR
    compare: dict[OtherModel, FilePath] = Field(default_factory=dict)


class Gate(Section):
    """Least differences (lower end of the 95% interval): PSNR in dB, identity as a cosine.

    `gap`: the share of the gap in identity between no reference and true photos, in [0, 1]."""

    psnr_over_bicubic: Difference = 0.0
    identity_over_bicubic: Difference = 0.0
    psnr_over_wrong: Difference = 0.0
    identity_over_wrong: Difference = 0.005
    gap_over_wrong: Difference = 0.2
    psnr_over_none: Difference = 0.0
    identity_over_none: Difference = 0.005
    gap_over_none: Difference = 0.2
    psnr_over_sisr: Difference = 0.0
    identity_over_sisr: Difference = 0.0
    psnr_over_champion: Difference = -0.05
    identity_over_champion: Difference = -0.005


class Register(Section):
    """Register a model that passes the gate, as a version of the registered model `name`."""

    name: ModelName = "refsr"
    gate: Gate = Gate()


class Data(Section):
    """The raw set that `curate` reads: `raw` is a folder, an archive or an s3:// URI.

    `layout` is a name in refsr.layouts.registry, or `auto`: what its folders say.
    """

    raw: Annotated[str, Field(min_length=1), AfterValidator(optional_path)] = "data/rendered"
    layout: Annotated[str, Field(pattern="^[a-z0-9_]{1,40}$")] = "auto"


# The stages, in the order they run. A stage is a function of its name in refsr/steps/.
SECTIONS: dict[str, type[Section]] = {
    "synthesize": Synthesize,
    "curate": Curate,
    "validate": Validate,
    "train_sisr": TrainSisr,
    "train_refsr": TrainRefsr,
    "evaluate": Evaluate,
    "register": Register,
}
