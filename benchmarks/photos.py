"""What curation finds, and what it loses, on photos without box files.

    python benchmarks/photos.py --raw DIR --plant
    python benchmarks/photos.py

Defects of every kind are planted into a copy of a raw set of the layout `people`, in folders of
people with at least three images. Without --raw the people are rendered. Prints one JSON object:
for each kind the recall and the precision, each with the 95% interval of Wilson (`.95`), and the
share of the other images that is lost. `chosen_right` is the share of sound photos whose chosen
face is the person's (photo_faces.py), `_of_several` of those that show several faces.

A set of real photos has copies and wrong persons of its own, so that precisions are lower bounds;
`unplanted.KIND` counts what is flagged though nothing was planted, `.like_others` of these the
faces that are nearer to somebody else's photo than to any of their folder, or, under two names,
within dlib's limit of the photos of the other folder.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from intervals import wilson
from photo_defects import LEAST, Planted, donors_from, is_in, is_of, plant
from photo_faces import chosen_faces
from photo_flags import gathered, unplanted

from refsr.config import Curate, Range, Synthesize
from refsr.curation.curated_writer import write_curated
from refsr.curation.detection import Embed
from refsr.curation.extraction import Detector
from refsr.curation.face_models import DETECTOR, embed_faces, usable_cores
from refsr.curation.planted_defects import NOT_ITS_OWN, SOUND, UNSEEN, has_own_face
from refsr.errors import RefsrError
from refsr.synthetic.dataset import write_raw

MANY = 10_000  # more images than anybody has
SMOOTH = {"blurred", "no_face"}  # what is planted as either shows no detail, and may be both


def main() -> None:
    """Plant, curate, score, and print one JSON object."""
    options = _parse_options()
    with tempfile.TemporaryDirectory(prefix="refsr-photos-") as scratch:
        work = Path(scratch)
        raw = options.raw or rendered(work / "rendered", donors_from(options.people))
        images = options.least, options.most
        planted = plant(
            raw,
            work / "raw",
            options.people,
            options.seed,
            empty=not options.plant,
            images=images,
        )
        result = measured(work / "raw", work / "curated", planted)
    print(json.dumps(result))


def measured(
    raw: Path,
    curated: Path,
    planted: Sequence[Planted],
    embed: Embed = embed_faces,
    detector: Detector = DETECTOR,
) -> dict[str, object]:
    """Curate a set and score what was planted."""
    everybody = Range(min=2, max=MANY)
    params = Curate(
        train_identities="all",
        test_identities="all",
        validation_identities=0,
        train_images=everybody,
        test_images=Range(min=1, max=MANY),
    )
    workers = usable_cores()
    summary = write_curated(params, raw, curated, embed, workers, detector=detector, keep_work=True)
    manifest = pd.read_parquet(curated / "manifest.parquet")
    rejects = pd.read_parquet(curated / "rejects.parquet")
    features = gathered(manifest, rejects, curated)
    scores = score(planted, manifest, rejects) | unplanted(planted, rejects, features)
    scores |= chosen_faces(planted, features, raw, embed, detector)
    speed = round(summary["images_per_second"], 2)
    return {"images": len(manifest) + len(rejects), "images_per_second": speed} | scores


def score(
    planted: Sequence[Planted],
    manifest: pd.DataFrame,
    rejects: pd.DataFrame,
) -> dict[str, object]:
    """Recall and precision by kind, and the share of the other images that is lost.

    What is left out before its defect can be seen, as a face that is too small is, does not count.
    """
    reason = dict(zip(rejects["source"], rejects["reason"], strict=True))
    kept = manifest.set_index("source")
    is_unseen = {one: one.kind not in SOUND and reason.get(one.path) in UNSEEN for one in planted}
    result: dict[str, object] = {}
    for kind in sorted({one.kind for one in planted}):
        own = [one for one in planted if one.kind == kind and not is_unseen[one]]
        others = [one for one in planted if one.kind != kind]
        hits = [_is_seen(one, reason, kept) for one in own]
        result[f"planted.{kind}"] = len(own)
        result |= _rate(f"recall.{kind}", hits)
        for variant in sorted({one.variant for one in own} - {""}):
            of_it = [hit for hit, one in zip(hits, own, strict=True) if one.variant == variant]
            result[f"recall.{kind}.{variant}"] = _share(of_it)
        rejected = [
            path
            for path, why in reason.items()
            if why == kind and (is_of(path, own) or not is_of(path, others))
        ]
        if rejected:
            result |= _rate(f"precision.{kind}", [is_of(path, own) for path in rejected])
    touched = {path for one in planted for path in (one.path, one.other)}
    clean = [path for path in [*kept.index, *reason] if not is_in(path, touched)]
    lost = [reason.get(path, "") for path in clean]
    result["clean"] = len(clean)
    result["clean_lost"] = _share([why not in ("", *NOT_ITS_OWN) for why in lost])
    for why in sorted({*lost} - {"", *NOT_ITS_OWN}):
        result[f"clean_lost.{why}"] = lost.count(why)
    return result


def _is_seen(one: Planted, reason: dict[str, str], kept: pd.DataFrame) -> bool:
    """Whether a defect is rejected for what it is, or a sound image is kept with its own face."""
    if one.kind == "rotated":
        return one.path in kept.index
    if one.kind == "bystander":
        if one.path not in kept.index:
            return False
        return has_own_face(kept.loc[one.path], one.variant)
    if one.kind in ("same_person", "mixed_people"):
        folders = (one.path, one.other)
        return any(why == one.kind for path, why in reason.items() if is_in(path, folders))
    seen = {reason.get(one.path), reason.get(one.other)}
    if one.kind in SMOOTH:
        return bool(seen & SMOOTH)
    return one.kind in seen


def _rate(name: str, hits: Sequence[bool]) -> dict[str, object]:
    """A share, and its interval."""
    return {name: _share(hits), f"{name}.95": wilson(sum(hits), len(hits))}


def _share(hits: Sequence[bool]) -> float:
    return round(sum(hits) / len(hits), 4) if hits else 0.0


def rendered(folder: Path, people: int) -> Path:
    """A rendered set without box files: a folder per person."""
    params = Synthesize(
        train_identities=people,
        test_identities=1,
        views=5,
        defects=0,
        validation_identities=0,
    )
    write_raw(params, folder)
    shutil.rmtree(folder / "bb_landmark")
    people_only = folder / "people"
    (folder / "train").rename(people_only)
    for number, person in enumerate(sorted(people_only.iterdir())):
        person.rename(people_only / f"person {number:03d}")
    return people_only


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument(
        "--raw",
        type=Path,
        help="a folder per person; without it they are rendered",
    )
    parser.add_argument("--plant", action="store_true", help="plant defects into the copy")
    parser.add_argument("--people", type=int, default=60, help="how many are copied")
    parser.add_argument("--least", type=int, default=LEAST, help="images of a person")
    parser.add_argument("--most", type=int, default=sys.maxsize, help="images of a person")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.plant |= options.raw is None
    return options


if __name__ == "__main__":
    try:
        main()
    except RefsrError as error:
        sys.exit(str(error))
