"""The parameters: one frozen class per stage, named after the stage.

`params.yaml` has one section per stage. An unknown key, a wrong type or a value out of range is an
error that names the file, the key and the value. A whole float is read as an integer (8.0 -> 8),
because Kubeflow passes integers as floats; booleans and strings are not. Every number has bounds:
those of the code that uses it, or what no machine could compute.
"""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    create_model,
    field_validator,
    model_validator,
)

from refsr.loss_terms import TERMS
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
    Seed,
    Share,
    Weight,
    Whole,
    exact_number,
    optional_path,
    words_of,
)
from refsr.variants import DEFAULT, VARIANTS


class Section(BaseModel):
    """The base of all sections: values are read-only, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    # Parameters with which unfinished work goes on, though another value has been set.
    may_change: ClassVar[frozenset[str]] = frozenset()


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
    """Render a raw set of faces."""

    seed: Seed = 0
    train_identities: People = 240
    test_identities: People = 60
    validation_identities: Count = 0  # further ones in train/, so that `curate` can take as many
    views: Annotated[Whole, Field(ge=1, le=1000)] = 8  # sound images of an identity
    min_size: Annotated[Whole, Field(ge=32, le=1024)] = 80  # least side of an image, pixels
    max_size: Annotated[Whole, Field(ge=32, le=1024)] = 400  # greatest side of an image, pixels
    defects: Annotated[Whole, Field(ge=0, le=10_000)] = 12  # planted images of each kind of defect

    @model_validator(mode="after")
    def _ordered(self) -> "Synthesize":
        if self.min_size > self.max_size:
            raise ValueError(f"min_size {self.min_size} is above max_size {self.max_size}")
        return self


class Curate(Section):
    """Select and crop the images of a raw set. Sizes are in raw pixels, angles in degrees."""

    seed: Seed = 0
    licence: Annotated[str, Field(max_length=200)] = ""  # of the raw set; the model card names it
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
    crop: Literal["loose", "aligned"] = "loose"  # around the box, or rotated by the landmarks
    crop_factor: Annotated[Real, Field(ge=1, le=3)] = 1.3  # crop side / longer side of the face box
    shards: Literal["raw", "jpeg"] = "raw"  # fast, or small: see refsr.dataset.pixel_shards
    shard_images: Annotated[Whole, Field(ge=1, le=2**20)] = 4096  # images in a shard
    min_box: Annotated[Whole, Field(ge=1, le=10_000)] = 40  # shorter side of the face box
    max_cut: Share = 0.25  # share of the face box outside the image
    max_yaw: Annotated[Real, Field(gt=0, le=90)] = 75.0
    min_sharpness: Share = 0.17  # see refsr.curation.image_stats.sharpness
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


class Loss(Section):
    """The training loss. `kind`:

    - "default": mean|HR - SR|, plus the terms below, each multiplied by its weight.
    - "released": the authors' loss, summed over the batch, see refsr.models.losses. No weight
      below applies.
    - "means": the same, averaged.

    A model that is trained with dlib's network (identity_weight) is not evaluated with it.
    """

    kind: Literal["default", "released", "means"] = "default"
    perceptual: Literal["efficientnet", "hed", "vgg19"] = "efficientnet"  # network of features
    vgg19_weights: Annotated[str, AfterValidator(optional_path)] = ""  # see models.pretrained.vgg19
    perceptual_weight: Weight = 0.3
    kl_weight: Weight = 1.0e-4  # per nat of KL, and of the compact variant's residual code
    kl_warmup: Share = 0.0  # share of the steps in which the weight of KL rises from 0
    free_bits: Weight = 0.0  # nats of each latent dimension that add nothing to the loss
    identity_weight: Weight = 0.0  # of 1 - cosine similarity of dlib's embeddings
    consistency_weight: Weight = 0.0  # of mean|LR - reduced SR|

    @model_validator(mode="after")
    def _consistent(self) -> "Loss":
        if self.perceptual == "vgg19" and not self.vgg19_weights:
            raise ValueError("perceptual vgg19 needs vgg19_weights, the path of their file")
        for name, field in type(self).model_fields.items():
            is_term = name not in ("kind", "perceptual", "vgg19_weights")
            if self.kind != "default" and is_term and getattr(self, name) != field.default:
                raise ValueError(f"{name} has no part in the loss {self.kind!r}: leave it out")
        return self


if not TYPE_CHECKING:  # a term that has no weight above gets one, of 0
    Loss = create_model(
        "Loss",
        __base__=Loss,
        __doc__=Loss.__doc__,
        __module__=__name__,
        **{
            f"{name}_weight": (Weight, 0.0)
            for name in TERMS
            if f"{name}_weight" not in Loss.model_fields
        },
    )


class Training(Section):
    """The parameters of both trainings; those of the network are in `model`."""

    may_change = frozenset({"steps", "device", "log_every", "image_every", "save_every"})
    seed: Seed = 0
    steps: Positive
    batch_size: BatchSize = 32  # over all processes
    optimizer: Literal["adamw", "adam"] = "adamw"  # adam adds weight decay to the gradient
    learning_rate: Annotated[Real, Field(gt=0, le=100)] = 4.0e-4
    schedule: Literal["decay", "constant"] = "decay"  # to 3% in the last 40% of the steps
    weight_decay: Weight = 1.0e-4
    clip_norm: Weight = 1.0  # greatest norm of a gradient; 0 does not clip
    warmup_steps: Count = 50
    ema: Annotated[Real, Field(ge=0, lt=1)] = 0.998  # average of weights; 0: the last weights
    loss: Loss = Loss()
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: bfloat16 if native
    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: cuda if there is a GPU
    log_every: Positive = 20  # steps
    image_every: Positive = 200  # steps
    save_every: Positive = 200  # steps between checkpoints to resume from


if TYPE_CHECKING:
    VariantName = str
else:
    VariantName = Literal[tuple(VARIANTS)]


class TrainSisr(Training):
    """Train the single-image model. RefSR starts from the snapshot at `warm_start_step`."""

    variant: VariantName = DEFAULT
    scale: Annotated[Literal[4, 8, 16], BeforeValidator(exact_number)] = 8
    steps: Positive = 1600
    warm_start_step: Positive = 800
    model: Options = {}  # options of the variant, by the names of its class

    @model_validator(mode="after")
    def _snapshot_in_training(self) -> "TrainSisr":
        if self.warm_start_step > self.steps:
            snapshot = f"warm_start_step {self.warm_start_step}"
            raise ValueError(f"{snapshot} is after the last step {self.steps}")
        return self


class TrainRefsr(Training):
    """Train the reference model; variant, scale and sizes are those of the SISR checkpoint."""

    steps: Positive = 800
    model: Options = {}  # options in addition to those of SISR, by the names of its class
    # Shares of training pairs:
    wrong_reference: Share = 0.15  # with a reference of another person
    no_reference: Share = 0.1  # without a reference
    self_reference: Share = 0.5  # with the warped HR image as reference; falls from here to 0


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
    compare: dict[OtherModel, FilePath] = {}  # name -> checkpoint of another RefSR


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
