"""The parameters of both trainings; see refsr.config."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, create_model, model_validator

from refsr.loss_terms import TERMS
from refsr.parameter_types import (
    BatchSize,
    Count,
    Options,
    Positive,
    Real,
    Seed,
    Share,
    Weight,
    exact_number,
    optional_path,
)
from refsr.sections import Section
from refsr.variants import DEFAULT, VARIANTS


class Loss(Section):
    """The training loss. `kind`:

    - "default": mean|HR - SR|, plus the terms below, each multiplied by its weight.
    - "released": the authors' loss, summed over the batch, see refsr.models.losses. No weight
      below applies.
    - "means": the same, averaged.

    The network of the identity term is `identity`: "trained" is one that learns the training people
    first (refsr.training.embedder), "dlib" that of the reports, which then judge themselves.
    """

    kind: Literal["default", "released", "means"] = "default"
    perceptual: Literal["efficientnet", "hed", "vgg19"] = "efficientnet"  # network of features
    vgg19_weights: Annotated[str, AfterValidator(optional_path)] = ""  # see models.pretrained.vgg19
    perceptual_weight: Weight = 0.3
    kl_weight: Weight = 1.0e-4  # per nat of KL, and of the compact variant's residual code
    kl_warmup: Share = 0.0  # share of the steps in which the weight of KL rises from 0
    free_bits: Weight = 0.0  # nats of each latent dimension that add nothing to the loss
    identity: Literal["trained", "dlib"] = "trained"  # network of the embeddings
    identity_steps: Positive = 1200  # of the network's own training
    identity_weight: Weight = 0.0  # of 1 - cosine similarity of the embeddings
    consistency_weight: Weight = 0.0  # of mean|LR - reduced SR|

    @model_validator(mode="after")
    def _consistent(self) -> "Loss":
        if self.perceptual == "vgg19" and not self.vgg19_weights:
            raise ValueError("perceptual vgg19 needs vgg19_weights, the path of their file")
        for name, field in type(self).model_fields.items():
            is_term = name not in ("kind", "perceptual", "vgg19_weights", "identity")
            if self.kind != "default" and is_term and getattr(self, name) != field.default:
                raise ValueError(f"{name} has no part in the loss {self.kind!r}: leave it out")
        return self

    @property
    def trains_embedder(self) -> bool:
        """Whether a network has to learn the training people first."""
        return bool(self.identity_weight) and self.identity == "trained"


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

    may_change = frozenset(
        {"steps", "device", "log_every", "image_every", "save_every"}
        | {"validate_every", "best_by", "patience", "on_nan", "deterministic"}
    )
    seed: Seed = 0
    steps: Positive
    batch_size: BatchSize = 32  # over all processes
    accumulate: Positive = 1  # parts of a batch that are in memory one after the other
    # How small photos of the training come about: by bicubic alone, or as photos do; see
    # refsr.dataset.real_degradation.
    degradation: Literal["bicubic", "real"] = "bicubic"
    optimizer: Literal["adamw", "adam"] = "adamw"  # adam adds weight decay to the gradient
    learning_rate: Annotated[Real, Field(gt=0, le=100)] = 4.0e-4
    # decay: to 3% in the last 40% of the steps; cosine: to 3%, from the first step on
    schedule: Literal["decay", "cosine", "constant"] = "decay"
    weight_decay: Weight = 1.0e-4
    clip_norm: Weight = 1.0  # greatest norm of a gradient; 0 does not clip
    warmup_steps: Count = 50
    ema: Annotated[Real, Field(ge=0, lt=1)] = 0.998  # average of weights; 0: the last weights
    loss: Loss = Loss()
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: bfloat16 if native
    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: cuda if there is a GPU
    compile: bool = False  # torch.compile with CUDA graphs: for a GPU, see docs/gpu.md
    deterministic: bool = False  # on a GPU the same weights each time, but slower
    log_every: Positive = 20  # steps
    image_every: Positive = 200  # steps
    save_every: Positive = 200  # steps between checkpoints to resume from
    validate_every: Count = 200  # steps between validations; 0: none
    # The metric of validation that chooses best.safetensors; see refsr.training.validation.
    best_by: Literal["loss", "psnr_none", "psnr_right"] = "loss"
    patience: Count = 0  # validations without a better one that end the training; 0: none do
    on_nan: Literal["stop", "roll_back"] = "stop"  # roll_back: once, to half the learning rate

    @model_validator(mode="after")
    def _equal_parts(self) -> "Training":
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of accumulate {self.accumulate}"
            )
        return self

    @model_validator(mode="after")
    def _can_stop(self) -> "Training":
        if self.patience and not self.validate_every:
            raise ValueError(
                f"patience {self.patience} counts validations, and validate_every 0 makes none; "
                "set validate_every to 1 or more"
            )
        return self


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
    best_by: Literal["loss", "psnr_none"] = "loss"  # SISR takes no reference
    # Options of the variant, by the names of its class:
    model: Options = Field(default_factory=dict)

    @model_validator(mode="after")
    def _snapshot_in_training(self) -> "TrainSisr":
        if self.warm_start_step > self.steps:
            snapshot = f"warm_start_step {self.warm_start_step}"
            raise ValueError(f"{snapshot} is after the last step {self.steps}")
        return self


class Sharpen(Section):
    """The generative phase after RefSR's steps: with a discriminator, towards sharper images.

    Its weights stand beside the faithful ones in the checkpoint. They are kept only where, on
    validation people, the kernel distance (KID) falls and PSNR loses no more than `most_loss`.
    """

    steps: Count = 0  # 0: there is no such phase
    most_loss: Weight = 0.8  # dB
    adversarial_weight: Weight = 0.3
    r1_weight: Weight = 0.01  # of the discriminator's squared gradient at true images, halved
    learning_rate: Annotated[Real, Field(gt=0, le=100)] = (
        2.0e-4  # of the network; the discriminator's is 5 times it
    )


class TrainRefsr(Training):
    """Train the reference model; variant, scale and sizes are those of the SISR checkpoint."""

    may_change = Training.may_change | {"sharpen"}
    steps: Positive = 800
    sharpen: Sharpen = Sharpen()
    # Options in addition to those of SISR, by the names of its class:
    model: Options = Field(default_factory=dict)
    # Shares of training pairs:
    wrong_reference: Share = 0.15  # with a reference of another person
    no_reference: Share = 0.1  # without a reference
    self_reference: Share = 0.5  # with the warped HR image as reference; falls from here to 0

    @model_validator(mode="after")
    def _weighs_the_adversary(self) -> "TrainRefsr":
        if self.sharpen.steps and self.loss.kind == "released":
            raise ValueError(
                "sharpen: beside the loss `released`, a sum over the batch, an adversary has no "
                "weight; set loss.kind to `means` or `default`, or sharpen.steps to 0"
            )
        return self
