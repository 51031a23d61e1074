"""The arms: every way in which a held-out image is restored, one line each. To add one, add a line.

`references` names columns of `refsr.evaluation.pairing.pairs`, or "lr" for the enlarged LR image itself. An image that
lacks one of them (few people have five photos) is left out of that arm. The main arms are measured by every judge;
the others by what is cheap, and compared with the right reference on the same images.
"""

from collections.abc import Container, Iterable
from typing import NamedTuple


class Arm(NamedTuple):
    """What an output is made by and from."""

    title: str
    model: str  # "bicubic", "sisr", "refsr", or the name another model was given
    references: tuple[str, ...] = ()
    drawn: bool = False  # z is drawn from the prior instead of taken at its mean


MAIN: dict[str, Arm] = {
    "bicubic": Arm("bicubic", "bicubic"),
    "sisr": Arm("SISR", "sisr"),
    "ref_none": Arm("RefSR, no reference", "refsr"),
    "ref_wrong": Arm("RefSR, wrong reference", "refsr", ("wrong",)),
    "ref_right": Arm("RefSR, right reference", "refsr", ("right",)),
}
OTHERS: dict[str, Arm] = {
    "ref_nearest": Arm("RefSR, the stranger nearest in identity", "refsr", ("nearest",)),
    "ref_farthest": Arm("RefSR, the stranger farthest in identity", "refsr", ("farthest",)),
    "ref_lr": Arm("RefSR, LR as its own reference", "refsr", ("lr",)),
    "ref_gaussian": Arm("RefSR, no reference, z drawn (Gaussian)", "refsr", drawn=True),
    "refs_2": Arm("RefSR, 2 right references", "refsr", ("right", "second")),
    "refs_3": Arm("RefSR, 3 right references", "refsr", ("right", "second", "third")),
    "refs_4": Arm("RefSR, 4 right references", "refsr", ("right", "second", "third", "fourth")),
}
DIFFERENCES = {
    "right_minus_wrong": "ref_wrong",
    "right_minus_none": "ref_none",
    "right_minus_sisr": "sisr",
    "right_minus_bicubic": "bicubic",
}


def arms_of(models: Iterable[str], deterministic: Container[str] = ()) -> dict[str, Arm]:
    """The arms these models can fill: the main ones first, then the others, then three of every other model.

    Models in `deterministic` draw nothing from a prior, so that they have no arm whose code is drawn.
    """
    models = list(models)
    table = {
        name: arm
        for name, arm in (MAIN | OTHERS).items()
        if arm.model in ("bicubic", *models) and not (arm.drawn and arm.model in deterministic)
    }
    for model in models:
        if model not in ("sisr", "refsr"):
            table[f"{model}_none"] = Arm(f"{model}, no reference", model)
            table[f"{model}_wrong"] = Arm(f"{model}, wrong reference", model, ("wrong",))
            table[f"{model}_right"] = Arm(f"{model}, right reference", model, ("right",))
    return table
