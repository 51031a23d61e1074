"""The parameters: one frozen class per stage, named as the stage; nothing happens at import.

`params.yaml` has one section per stage. An unknown key, a wrong type or a value out of range is refused with the file,
the key and the value. Whole floats are taken for integers (8.0 -> 8), since Kubeflow hands integers over as floats;
booleans and texts are not. Every number has bounds, those of what reads it, or of what no machine could do.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from refsr.parameter_types import (
    BatchSize,
    Count,
    Difference,
    FilePath,
    HrSize,
    Identity,
    ModelName,
    Options,
    OtherModel,
    People,
    Positive,
    Real,
    Repository,
    Revision,
    Seed,
    Share,
    Text,
    Weight,
    Whole,
    exact_number,
    optional_path,
    words_of,
)
from refsr.redaction import holds_secret


class Section(BaseModel):
    """What all sections share: values are fixed once read, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Range(Section):
    """An inclusive range of counts."""

    min: Positive
    max: Positive

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


class Synthesize(Section):
    """The rendered raw set. `defects` is how many of each kind are planted."""

    seed: Seed = 0
    train_identities: People = 240
    test_identities: People = 60
    views: Annotated[Whole, Field(ge=1, le=1000)] = 8
    min_size: Annotated[Whole, Field(ge=32, le=1024)] = 80
    max_size: Annotated[Whole, Field(ge=32, le=1024)] = 400
    defects: Annotated[Whole, Field(ge=0, le=10_000)] = 12

    @model_validator(mode="after")
    def _ordered(self) -> "Synthesize":
        if self.min_size > self.max_size:
            raise ValueError(f"min_size {self.min_size} is above max_size {self.max_size}")
        return self


class Curate(Section):
    """Raw tree to identity groups. Sizes are pixels, angles degrees, distances those of the measure named."""

    seed: Seed = 0
    # Which identities: "all" of the raw set, those listed, or those listed in a file, one to a line.
    identities: Literal["all"] | tuple[Identity, ...] = "all"
    splits: Literal["auto", "own", "drawn"] = "auto"  # the raw set's own, or drawn; auto: its own where it has both
    sex: Literal["any", "balanced", "f", "m"] = "any"  # balanced: as many women as men while there are both
    train_identities: People | Literal["all"] = 428
    test_identities: People | Literal["all"] = 428
    train_images: Range = Range(min=2, max=30)  # images of a training identity, its reference among them
    test_images: Range = Range(min=1, max=4)  # images of a test identity beside its reference
    hr_size: HrSize = 128
    crop: Literal["loose", "aligned"] = "loose"  # a square about the face box, or turned upright by the landmarks
    crop_factor: Annotated[Real, Field(ge=1, le=3)] = 1.3  # side of the crop over the longer side of the face box
    shards: Literal["raw", "jpeg"] = (
        "raw"  # pixels to be memory-mapped, or JPEGs on less disk; see refsr.dataset.pixel_shards
    )
    shard_images: Annotated[Whole, Field(ge=1, le=2**20)] = 4096
    min_box: Annotated[Whole, Field(ge=1, le=10_000)] = 40  # shorter side of the face box
    max_cut: Share = 0.25  # share of the face box that may lie outside the image
    max_yaw: Annotated[Real, Field(gt=0, le=90)] = 75.0
    min_sharpness: Share = 0.17  # see refsr.curation.image_stats.sharpness
    # What MTCNN takes a picture for that is cut about the landmarks, or the box; of a hidden face it is near 0.
    min_face_probability: Share = 0.5
    min_reference_probability: Share = 0.95  # the same, of a reference
    max_duplicate_bits: Annotated[Whole, Field(ge=0, le=64)] = 8  # Hamming distance of two difference hashes
    max_identity_distance: Annotated[Real, Field(gt=0, le=2)] = 0.65  # dlib embedding to the group's own centre

    @field_validator("identities", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        if value == "all":
            return value
        listed: object = value
        if isinstance(value, str):
            listed = words_of(value)
        if isinstance(listed, list | tuple) and not listed:
            told = f"{value}: " if isinstance(value, str) else ""
            raise ValueError(f"{told}names nobody; list identities (names of folders), or write `all`")
        return tuple(listed) if isinstance(listed, list) else listed


class Validate(Section):
    """What must hold for a curated set. `sample` images are read back and looked at pixel by pixel."""

    sample: Annotated[Whole, Field(ge=1, le=10**6)] = 256
    seed: Seed = 0
    min_train_identities: People = 2
    min_test_identities: People = 1


class Loss(Section):
    """What training minimises. `kind`:

    - "default": mean|HR - SR|, and the terms below by their weights.
    - "released": the authors', in sums over the batch, as refsr.models.losses has it; no weight below has a part in it.
    - "means": the same, in means.

    Identity is judged by dlib's network: a model it has trained is no longer judged by it, and its report says so.
    """

    kind: Literal["default", "released", "means"] = "default"
    perceptual: Literal["efficientnet", "hed", "vgg19"] = "efficientnet"  # the network whose features are compared
    vgg19_weights: Annotated[str, AfterValidator(optional_path)] = (
        ""  # file of VGG19's weights, see refsr.models.pretrained.vgg19
    )
    perceptual_weight: Weight = 0.3
    kl_weight: Weight = 1.0e-4  # of a nat: of KL, and of what the compact variant's code leaves unexplained
    kl_warmup: Share = 0.0  # share of the steps over which the weight of KL rises from 0
    free_bits: Weight = 0.0  # nats of each latent dimension that cost nothing
    identity_weight: Weight = 0.0  # of 1 - cosine of dlib's embeddings
    consistency_weight: Weight = 0.0  # of mean|LR - reduced SR|

    @model_validator(mode="after")
    def _consistent(self) -> "Loss":
        if self.perceptual == "vgg19" and not self.vgg19_weights:
            raise ValueError("perceptual vgg19 needs vgg19_weights, the path of a file of its weights")
        default = Loss.model_construct(kind=self.kind, perceptual=self.perceptual, vgg19_weights=self.vgg19_weights)
        for name in type(self).model_fields:
            if self.kind != "default" and getattr(self, name) != getattr(default, name):
                raise ValueError(f"{name} has no part in the loss {self.kind!r}: leave it out")
        return self


class Training(Section):
    """What both trainings share; how the network itself is built stands in `model`."""

    seed: Seed = 0
    steps: Positive
    batch_size: BatchSize = 32
    optimizer: Literal["adamw", "adam"] = "adamw"  # adam adds the weight decay to the gradient, adamw does not
    learning_rate: Annotated[Real, Field(gt=0, le=100)] = 4.0e-4
    schedule: Literal["decay", "constant"] = "decay"  # after the warm-up; decay falls to 3% over the last 40%
    weight_decay: Weight = 1.0e-4
    clip_norm: Weight = 1.0  # longest gradient that is taken as it is; 0 takes every one
    warmup_steps: Count = 50
    ema: Annotated[Real, Field(ge=0, lt=1)] = 0.998  # 0 keeps the last weights themselves
    loss: Loss = Loss()
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    log_every: Positive = 20
    image_every: Positive = 200
    save_every: Positive = 200


class TrainSisr(Training):
    """The single-image model. At `warm_start_step` a snapshot is kept from which RefSR starts."""

    variant: Literal["compact", "release", "figure"] = "compact"
    scale: Annotated[Literal[4, 8, 16], BeforeValidator(exact_number)] = 8
    steps: Positive = 1600
    warm_start_step: Positive = 800
    model: Options = {}  # options of the variant, as its class names them

    @model_validator(mode="after")
    def _snapshot_in_training(self) -> "TrainSisr":
        if self.warm_start_step > self.steps:
            raise ValueError(f"warm_start_step {self.warm_start_step} is after the last step {self.steps}")
        return self


class TrainRefsr(Training):
    """The reference model; its variant, scale and sizes are those of the SISR checkpoint it starts from."""

    steps: Positive = 800
    model: Options = {}  # options beside those of SISR, as its class names them
    wrong_reference: Share = 0.15  # share of training pairs whose reference is another person
    no_reference: Share = 0.1
    self_reference: Share = 0.5  # share at the start whose reference is the HR image itself, warped; falls to 0


class Evaluate(Section):
    """The protocol is fixed in refsr.evaluation; here is only how much of it."""

    seed: Seed = 0
    batch_size: BatchSize = 32
    bootstrap: Annotated[Whole, Field(ge=100, le=100_000)] = 2000
    strips: Annotated[Whole, Field(ge=1, le=100)] = 3  # identities shown for each of best, median and worst
    grid: Annotated[Whole, Field(ge=1, le=50)] = 6  # side of the identity-transfer grid
    samples: Annotated[Whole, Field(ge=2, le=1000)] = 8  # drawn of each image that diversity is measured on
    kid_images: Annotated[Whole, Field(ge=2, le=100_000)] = (
        240  # images of the training split that KID compares with, at most
    )
    lpips: FilePath | None = (
        None  # a file of LPIPS weights (refsr.models.pretrained.lpips); without it there is no LPIPS
    )
    compare: dict[OtherModel, FilePath] = {}  # name -> checkpoint of another RefSR


class Gate(Section):
    """Least differences a model needs: lower end of the 95% interval, PSNR in dB, identity as a cosine."""

    psnr_over_bicubic: Difference = 0.0
    identity_over_bicubic: Difference = 0.0
    psnr_over_wrong: Difference = 0.0
    identity_over_wrong: Difference = 0.0
    psnr_over_none: Difference = 0.0
    identity_over_none: Difference = 0.0
    psnr_over_sisr: Difference = -0.5
    identity_over_sisr: Difference = -0.05
    psnr_over_champion: Difference = -0.05
    identity_over_champion: Difference = -0.005


class Register(Section):
    """Where a model that passes the gate goes."""

    name: ModelName = "refsr"
    gate: Gate = Gate()


class Fetch(Section):
    """A raw set by its revision: what DVC tracks at `path` in a git repository, from the repository's own S3 remote."""

    repository: Repository
    path: Repository
    revision: Revision  # branch, tag or commit
    remote: Text | None = None  # by its name in the repository; none: its default
    endpoint: Text | None = None  # URL of the S3 service, where it is another than the repository says

    @field_validator("repository", "endpoint")
    @classmethod
    def _no_password(cls, url: str | None) -> str | None:
        if url and holds_secret(url):
            raise ValueError("holds a password or token, and all who see a run see its parameters; keep it in a Secret")
        return url


class Checkpoint(Section):
    """A model of the registry."""

    model: Annotated[Text, Field(pattern=r"^models:/[^/@:]+[/@][^/@:]+$")] = "models:/refsr@champion"


class UpscaleFolder(Section):
    """Batch inference."""

    device: Literal["auto", "cpu", "cuda"] = "auto"


class Data(Section):
    """Where data lies: `raw` is the raw set that `curate` reads, a folder, an archive or an s3:// URI.

    `layout` is how it is laid out: a name in refsr.layouts.registry, or `auto`: what its folders say.
    """

    raw: Annotated[str, Field(min_length=1), AfterValidator(optional_path)] = "data/rendered"
    layout: Annotated[str, Field(pattern="^[a-z0-9_]{1,40}$")] = "auto"


SECTIONS: dict[str, type[Section]] = {
    "synthesize": Synthesize,
    "curate": Curate,
    "validate": Validate,
    "train_sisr": TrainSisr,
    "train_refsr": TrainRefsr,
    "evaluate": Evaluate,
    "register": Register,
}
SIDE_SECTIONS: dict[str, type[Section]] = {  # of steps that are no stage of dvc.yaml
    "fetch": Fetch,
    "checkpoint": Checkpoint,
    "upscale_folder": UpscaleFolder,
}
KNOWN = SECTIONS | SIDE_SECTIONS
