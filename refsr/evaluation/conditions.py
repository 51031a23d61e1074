"""The conditions: every way in which a held-out image is restored.

To add one, add it to CONDITIONS.

`references` names columns of `refsr.evaluation.pairing.pairs`, or "lr" for the enlarged LR image
itself. An image that lacks one of them (few people have five photos) is left out of that condition.
Main conditions are measured by every metric; the others by the metrics that are cheap, and compared
with the right reference on the same images.
"""

from collections.abc import Container, Iterable
from typing import NamedTuple


class Condition(NamedTuple):
    """What an output is made by and from."""

    title: str
    model: str  # "bicubic", "sisr", "refsr", or the name another model was given
    references: tuple[str, ...] = ()
    drawn: bool = False  # z is drawn from the prior instead of taken at its mean
    main: bool = False
    short: str = ""  # title above a picture, where it is another

    @property
    def short_title(self) -> str:
        """The title where there is little room."""
        return self.short or self.title


SHARP = "sharp"  # the network of the generative phase
RIGHT = "ref_right"  # the condition that all others are compared with
CONDITIONS: dict[str, Condition] = {
    "bicubic": Condition("bicubic", "bicubic", main=True),
    "sisr": Condition("SISR", "sisr", main=True),
    "ref_none": Condition("RefSR, no reference", "refsr", main=True, short="RefSR none"),
    "ref_wrong": Condition(
        "RefSR, wrong reference",
        "refsr",
        ("wrong",),
        main=True,
        short="RefSR wrong",
    ),
    RIGHT: Condition("RefSR, right reference", "refsr", ("right",), main=True, short="RefSR right"),
    # Where the checkpoint holds weights of the generative phase: see networks.load_models.
    "ref_sharp": Condition(
        "RefSR, right, realism 1",
        SHARP,
        ("right",),
        main=True,
        short="RefSR sharp",
    ),
    "ref_nearest": Condition(
        "RefSR, the stranger nearest in identity",
        "refsr",
        ("nearest",),
        short="nearest",
    ),
    "ref_farthest": Condition(
        "RefSR, the stranger farthest in identity",
        "refsr",
        ("farthest",),
        short="farthest",
    ),
    "ref_lr": Condition("RefSR, LR as its own reference", "refsr", ("lr",), short="LR as ref."),
    "ref_gaussian": Condition(
        "RefSR, no reference, z drawn (Gaussian)",
        "refsr",
        drawn=True,
        short="Gaussian",
    ),
    "refs_2": Condition("RefSR, 2 right references", "refsr", ("right", "second"), short="2 refs"),
    "refs_3": Condition(
        "RefSR, 3 right references",
        "refsr",
        ("right", "second", "third"),
        short="3 refs",
    ),
    "refs_4": Condition(
        "RefSR, 4 right references",
        "refsr",
        ("right", "second", "third", "fourth"),
        short="4 refs",
    ),
}
MAIN = {name: each for name, each in CONDITIONS.items() if each.main}
OTHERS = {name: each for name, each in CONDITIONS.items() if not each.main}
DIFFERENCES = {  # name in metrics.json -> the condition that is subtracted from RIGHT
    f"right_minus_{name.removeprefix('ref_')}": name for name in reversed(MAIN) if name != RIGHT
}


def conditions_of(
    models: Iterable[str],
    deterministic: Container[str] = (),
) -> dict[str, Condition]:
    """The conditions these models can fill, then three of every model beside "sisr" and "refsr".

    Models in `deterministic` draw nothing from a prior: they have no condition with `drawn`.
    """
    models = list(models)
    table = {
        name: each
        for name, each in (MAIN | OTHERS).items()
        if each.model in ("bicubic", *models) and not (each.drawn and each.model in deterministic)
    }
    for model in models:
        if model not in ("sisr", "refsr", SHARP):
            table |= _of_another(model)
    return table


def _of_another(model: str) -> dict[str, Condition]:
    references = {"none": (), "wrong": ("wrong",), "right": ("right",)}
    titles = {"none": "no reference", "wrong": "wrong reference", "right": "right reference"}
    return {
        f"{model}_{kind}": Condition(
            f"{model}, {titles[kind]}", model, given, short=f"{model} {kind}"
        )
        for kind, given in references.items()
    }


def title_of(name: str) -> str:
    """The title of a condition; of another model's, its name in words."""
    known = CONDITIONS.get(name)
    return known.title if known else name.replace("_", ", ")
