"""What sections of a params file ask of each other: checked when the file is read, before any stage runs.

A rule is a function of the sections that are there; it yields one line per fault, with both keys, both values and the
way out. To add a rule, write it and add it to RULES. What depends on data is checked where a stage starts.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from refsr.config import Curate, Data, Evaluate, Section, Synthesize, Training, TrainSisr, Validate
from refsr.parameter_types import MAX_HR, MIN_HR, MIN_MEASURED, heads_fault
from refsr.variants import VARIANTS

RENDERED = Data.model_fields["raw"].default  # where dvc.yaml has `synthesize` write
_SCALES = (4, 8, 16)
_LEAST_PEOPLE = 2  # of the test split: the wrong reference of each is another's

S = TypeVar("S", bound=Section)
Sections = Mapping[str, Section]
Rule = Callable[[Sections], Iterator[str]]


def faults(sections: Sections) -> list[str]:
    """The faults between these sections by name, a line each; sections that are absent have no part in it."""
    return [line for rule in RULES for line in rule(sections)]


def _get(sections: Sections, name: str, kind: type[S]) -> S | None:
    section = sections.get(name)
    return section if isinstance(section, kind) else None


def hr_size_fits_networks(sections: Sections) -> Iterator[str]:
    """HR is a multiple of the scale, and of the cells of the published networks."""
    curate, sisr = _get(sections, "curate", Curate), _get(sections, "train_sisr", TrainSisr)
    if curate is None or sisr is None:
        return
    cells = VARIANTS[sisr.variant].cell
    if curate.hr_size % max(sisr.scale, cells) == 0:
        return
    reason = f"train_sisr.scale: {sisr.scale}"
    if curate.hr_size % sisr.scale == 0:
        reason = f"{cells}, which train_sisr.variant: {sisr.variant} needs"
    sizes = " or ".join(map(str, _multiples_near(curate.hr_size, max(sisr.scale, cells))))
    scales = [str(scale) for scale in _SCALES if curate.hr_size % max(scale, cells) == 0]
    other = f", or train_sisr.scale to {' or '.join(scales)}" if scales else ""
    yield f"curate.hr_size: {curate.hr_size} is no multiple of {reason}; set curate.hr_size to {sizes}{other}"


def _multiples_near(size: int, step: int) -> list[int]:
    below = size // step * step
    return [near for near in (below, below + step) if MIN_HR <= near <= MAX_HR]


def hr_size_can_be_measured(sections: Sections) -> Iterator[str]:
    """SSIM's window fits into HR."""
    curate, evaluate = _get(sections, "curate", Curate), _get(sections, "evaluate", Evaluate)
    if curate and evaluate and curate.hr_size < MIN_MEASURED:
        yield (
            f"curate.hr_size: {curate.hr_size} is too small for the metrics of `evaluate`, which need {MIN_MEASURED} "
            f"pixels; set curate.hr_size to {MIN_MEASURED} or more, or remove the section `evaluate`"
        )


def model_options_are_known(sections: Sections) -> Iterator[str]:
    """Options of a network are those of its variant; RefSR has the variant and the width of SISR."""
    sisr = _get(sections, "train_sisr", TrainSisr)
    if sisr is None:
        return
    for name, kind in (("train_sisr", "sisr"), ("train_refsr", "refsr")):
        training = _get(sections, name, Training)
        if training is None:
            continue
        options: Mapping[str, object] = getattr(training, "model")  # noqa: B009 - both kinds of training have it
        known = VARIANTS[sisr.variant].options(kind)
        for option in sorted(set(options) - set(known)):
            yield (
                f"{name}.model.{option}: {str(options[option])[:80]} is no option that train_sisr.variant: "
                f"{sisr.variant} has; known are: {', '.join(known)}"
            )
        if kind == "refsr" and "heads" in known:
            yield from _heads(sisr.model, options)


def _heads(sisr: Mapping[str, object], refsr: Mapping[str, object]) -> Iterator[str]:
    options = {"width": 64, "heads": 4, "attention": True} | dict(sisr) | dict(refsr)
    width, heads = options["width"], options["heads"]
    if not options["attention"] or not isinstance(width, int) or not isinstance(heads, int):
        return
    if told := heads_fault(width, heads):
        yield f"train_refsr.model.heads: {told}"


def people_are_enough(sections: Sections) -> Iterator[str]:
    """`curate` takes as many identities as `validate` and `evaluate` need."""
    curate, validate = _get(sections, "curate", Curate), _get(sections, "validate", Validate)
    if curate is None:
        return
    least = _people_needed(sections)
    for split, (count, why) in least.items():
        key, taken = f"{split}_identities", getattr(curate, f"{split}_identities")
        if isinstance(taken, int) and taken < count:
            yield f"curate.{key}: {taken} is less than {why}; set curate.{key} to {count} or more{_or_less(validate)}"
    listed = len(set(curate.identities)) if curate.identities != "all" else None
    total = sum(count for count, _ in least.values())
    if listed is not None and listed < total:
        reasons = " and ".join(why for _, why in least.values())
        yield f"curate.identities: names {listed}, but both splits need {total} ({reasons}); name more, or write `all`"


def _people_needed(sections: Sections) -> dict[str, tuple[int, str]]:
    """Split -> (the least identities that later stages need, why)."""
    least = {split: (1, f"the 1 that {split} needs") for split in ("train", "test")}
    validate = _get(sections, "validate", Validate)
    if validate:
        for split in least:
            count = getattr(validate, f"min_{split}_identities")
            least[split] = max(least[split], (count, f"validate.min_{split}_identities: {count}"))
    if "evaluate" in sections:
        why = f"the {_LEAST_PEOPLE} that `evaluate` needs for a wrong reference"
        least["test"] = max(least["test"], (_LEAST_PEOPLE, why), key=lambda each: each[0])
    return least


def _or_less(validate: Validate | None) -> str:
    return ", or ask for less in `validate`" if validate else ""


def training_has_references(sections: Sections) -> Iterator[str]:
    """A training identity has an image beside its reference."""
    curate = _get(sections, "curate", Curate)
    if curate and "train_refsr" in sections and curate.train_images.max < 2:
        yield (
            f"curate.train_images.max: {curate.train_images.max} leaves no image beside the reference for train_refsr; "
            "set curate.train_images.max to 2 or more"
        )


def rendered_set_is_usable(sections: Sections) -> Iterator[str]:
    """What `synthesize` renders is enough for `curate`, where `curate` reads it."""
    synthesize, curate = _get(sections, "synthesize", Synthesize), _get(sections, "curate", Curate)
    data = _get(sections, "data", Data) or Data()
    if synthesize is None or curate is None or data.raw != RENDERED:
        return
    for key, least in (("train_images", max(2, curate.train_images.min)), ("test_images", curate.test_images.min + 1)):
        if synthesize.views < least:
            asked = getattr(curate, key).min
            yield (
                f"synthesize.views: {synthesize.views} images of an identity are too few for "
                f"curate.{key}.min: {asked}; set synthesize.views to {least} or more, or curate.{key}.min to less"
            )
    if synthesize.max_size < curate.min_box:
        yield (
            f"synthesize.max_size: {synthesize.max_size} is below curate.min_box: {curate.min_box}, so that every face "
            f"is too small; set synthesize.max_size to more, or curate.min_box to less"
        )
    if curate.splits == "drawn":
        return
    for split, (count, why) in _people_needed(sections).items():
        rendered = getattr(synthesize, f"{split}_identities")
        if rendered < count:
            yield (
                f"synthesize.{split}_identities: {rendered} is less than {why}; set synthesize.{split}_identities to "
                f"{count} or more"
            )


RULES: tuple[Rule, ...] = (
    hr_size_fits_networks,
    hr_size_can_be_measured,
    model_options_are_known,
    people_are_enough,
    training_has_references,
    rendered_set_is_usable,
)
