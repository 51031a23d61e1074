"""Rules between the sections of a params file, checked before any stage runs.

A rule is a function of the sections in the file. It yields one line per fault, with both keys, both
values and what to do. To add a rule, write the function and add it to RULES. Rules that depend on
data are checked when a stage starts.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from refsr.config import (
    Curate,
    Data,
    Evaluate,
    Section,
    Synthesize,
    TrainRefsr,
    TrainSisr,
    Validate,
)
from refsr.parameter_types import MAX_HR, MIN_HR, MIN_MEASURED, heads_fault
from refsr.variants import VARIANTS

RENDERED = Data.model_fields["raw"].default  # the output of `synthesize` in dvc.yaml
_SCALES = (4, 8, 16)
COMPACT = {"width": 64, "heads": 4, "attention": False}  # defaults of the compact RefSR
_LEAST_PEOPLE = 2  # test identities: a wrong reference needs another identity

S = TypeVar("S", bound=Section)
Sections = Mapping[str, Section]
Rule = Callable[[Sections], Iterator[str]]


def faults(sections: Sections) -> list[str]:
    """The faults between these sections (by name), a line each; any section may be absent."""
    return [line for rule in RULES for line in rule(sections)]


def _get(sections: Sections, name: str, kind: type[S]) -> S | None:
    section = sections.get(name)
    return section if isinstance(section, kind) else None


def hr_size_fits_networks(sections: Sections) -> Iterator[str]:
    """HR is a multiple of the scale, and of the latent cells of the published networks."""
    curate = _get(sections, "curate", Curate)
    sisr = _get(sections, "train_sisr", TrainSisr)
    if curate is None or sisr is None:
        return
    size = curate.hr_size
    cells = VARIANTS[sisr.variant].cell
    if size % max(sisr.scale, cells) == 0:
        return
    reason = f"train_sisr.scale: {sisr.scale}"
    if size % sisr.scale == 0:
        reason = f"{cells}, which train_sisr.variant: {sisr.variant} needs"
    sizes = " or ".join(map(str, _multiples_near(size, max(sisr.scale, cells))))
    scales = [str(scale) for scale in _SCALES if size % max(scale, cells) == 0]
    other = f", or train_sisr.scale to {' or '.join(scales)}" if scales else ""
    fault = f"curate.hr_size: {size} is not a multiple of {reason}"
    yield f"{fault}; set curate.hr_size to {sizes}{other}"


def _multiples_near(size: int, step: int) -> list[int]:
    below = size // step * step
    return [near for near in (below, below + step) if MIN_HR <= near <= MAX_HR]


def hr_size_can_be_measured(sections: Sections) -> Iterator[str]:
    """The window of SSIM fits into HR."""
    curate = _get(sections, "curate", Curate)
    evaluate = _get(sections, "evaluate", Evaluate)
    if curate and evaluate and curate.hr_size < MIN_MEASURED:
        yield (
            f"curate.hr_size: {curate.hr_size} is too small for the metrics of `evaluate`, "
            f"which need {MIN_MEASURED} pixels; set curate.hr_size to {MIN_MEASURED} or more, "
            "or remove the section `evaluate`"
        )


def model_options_are_known(sections: Sections) -> Iterator[str]:
    """Options of a network are those of its variant; RefSR has the variant of SISR."""
    sisr = _get(sections, "train_sisr", TrainSisr)
    if sisr is None:
        return
    trainings = {"sisr": sisr, "refsr": _get(sections, "train_refsr", TrainRefsr)}
    for kind, training in trainings.items():
        if training is None:
            continue
        name, options = f"train_{kind}", training.model
        known = VARIANTS[sisr.variant].options(kind)
        for option in sorted(set(options) - set(known)):
            yield (
                f"{name}.model.{option}: {str(options[option])[:80]} is not an option of "
                f"train_sisr.variant: {sisr.variant}; known are: {', '.join(known)}"
            )
        if kind == "refsr" and "heads" in known:
            yield from _heads(sisr.model, options)


def _heads(sisr: Mapping[str, object], refsr: Mapping[str, object]) -> Iterator[str]:
    options = COMPACT | dict(sisr) | dict(refsr)
    width, heads = options["width"], options["heads"]
    if not options["attention"] or not isinstance(width, int) or not isinstance(heads, int):
        return
    if fault := heads_fault(width, heads):
        yield f"train_refsr.model.heads: {fault}"


def people_are_enough(sections: Sections) -> Iterator[str]:
    """`curate` selects as many identities as `validate` and `evaluate` need."""
    curate = _get(sections, "curate", Curate)
    if curate is None:
        return
    way = ", or ask for less in `validate`" if "validate" in sections else ""
    least = _people_needed(sections)
    for split, (count, why) in least.items():
        key = f"{split}_identities"
        limit = getattr(curate, key)
        if isinstance(limit, int) and limit < count:
            fault = f"curate.{key}: {limit} is less than {why}"
            yield f"{fault}; set curate.{key} to {count} or more{way}"
    total = sum(count for count, _ in least.values())
    named = total if curate.identities == "all" else len(set(curate.identities))
    if named < total:
        reasons = " and ".join(why for _, why in least.values())
        fault = f"names {named}, but the splits need {total} ({reasons})"
        yield f"curate.identities: {fault}; name more, or write `all`"


def _people_needed(sections: Sections) -> dict[str, tuple[int, str]]:
    """Split -> (the number of identities that later stages need, why)."""
    least = {split: (1, f"the 1 that {split} needs") for split in ("train", "test")}
    least["validation"] = (0, "")
    validate = _get(sections, "validate", Validate)
    if validate:
        for split in least:
            count = getattr(validate, f"min_{split}_identities")
            least[split] = max(least[split], (count, f"validate.min_{split}_identities: {count}"))
    evaluate = _get(sections, "evaluate", Evaluate)
    if evaluate:
        why = f"the {_LEAST_PEOPLE} that `evaluate` needs for a wrong reference"
        split = evaluate.split
        least[split] = max(least[split], (_LEAST_PEOPLE, why), key=lambda each: each[0])
    return {split: need for split, need in least.items() if need[0]}


def training_has_references(sections: Sections) -> Iterator[str]:
    """A training identity has an image in addition to its reference."""
    curate = _get(sections, "curate", Curate)
    if curate and "train_refsr" in sections and curate.train_images.max < 2:
        key = "curate.train_images.max"
        fault = f"{key}: {curate.train_images.max} leaves no image but the reference to train_refsr"
        yield f"{fault}; set {key} to 2 or more"


def rendered_set_is_usable(sections: Sections) -> Iterator[str]:
    """`synthesize` renders enough for `curate`, if `curate` reads its output."""
    synthesize = _get(sections, "synthesize", Synthesize)
    curate = _get(sections, "curate", Curate)
    data = _get(sections, "data", Data) or Data()
    if synthesize is None or curate is None or data.raw != RENDERED:
        return
    yield from _views(synthesize, curate)
    if synthesize.max_size < curate.min_box:
        yield (
            f"synthesize.max_size: {synthesize.max_size} is below curate.min_box: "
            f"{curate.min_box}, so every face is too small; set synthesize.max_size to more, "
            "or curate.min_box to less"
        )
    if curate.splits != "drawn":
        yield from _rendered_people(sections, synthesize)


def _views(synthesize: Synthesize, curate: Curate) -> Iterator[str]:
    least = {
        "train_images": max(2, curate.train_images.min),
        "test_images": curate.test_images.min + 1,
    }
    for key, count in least.items():
        if synthesize.views < count:
            asked = getattr(curate, key).min
            yield (
                f"synthesize.views: {synthesize.views} images of an identity are too few for "
                f"curate.{key}.min: {asked}; set synthesize.views to {count} or more, "
                f"or curate.{key}.min to less"
            )


def _rendered_people(sections: Sections, synthesize: Synthesize) -> Iterator[str]:
    for split, (count, why) in _people_needed(sections).items():
        if split == "validation":  # taken from those for training
            continue
        key = f"synthesize.{split}_identities"
        rendered = getattr(synthesize, f"{split}_identities")
        if rendered < count:
            yield f"{key}: {rendered} is less than {why}; set {key} to {count} or more"


RULES: tuple[Rule, ...] = (
    hr_size_fits_networks,
    hr_size_can_be_measured,
    model_options_are_known,
    people_are_enough,
    training_has_references,
    rendered_set_is_usable,
)
