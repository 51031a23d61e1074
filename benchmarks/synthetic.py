"""How fast faces are rendered, and whether a real recognition network tells them apart.

Each of PEOPLE people is rendered twice: a near-frontal view for the gallery and another view as the
probe. Rank-1 is the share of probes whose nearest gallery image, by dlib's network, is of the same
person; chance is 1 / PEOPLE. The last two figures are of probes reduced from 64 px to 8 and to 16
px and enlarged again: what a reference has to supply. Speed is processor time of one core, the
building of the people included as in a set with VIEWS views each.

    python benchmarks/synthetic.py
"""

import argparse
import json
import time

import cv2
import numpy as np
import torch
from tqdm import tqdm

from refsr.config import Synthesize
from refsr.dataset.degradation import enlarge, reduce
from refsr.models.pretrained import identity_embeddings, identity_network
from refsr.synthetic.people import view
from refsr.synthetic.plan import Shot, plan
from refsr.synthetic.render import Picture, model, render

PEOPLE, VIEWS, HELD_OUT_SEED = 50, 8, 7


def main() -> None:
    """Measure, and print one JSON object."""
    _parse_options()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    params = Synthesize(
        seed=HELD_OUT_SEED, train_identities=1, test_identities=PEOPLE - 1, defects=0, views=VIEWS
    )
    gallery, probes, seconds = [], [], []
    for folder in tqdm(plan(params), desc="render", unit="person"):
        front = next(shot for shot in folder.shots if shot.frontal)
        other = next(shot for shot in folder.shots if not shot.frontal)
        (first, second), cost = _timed(folder.person, [front, other])
        gallery.append(_crop(first))
        probes.append(_crop(second))
        seconds.append(cost)
    result = {"images_per_second_per_core": 1 / float(np.median(seconds))}
    result |= recognition(torch.stack(gallery), torch.stack(probes))
    print(json.dumps({key: round(value, 3) for key, value in result.items()}))


@torch.inference_mode()
def recognition(gallery: torch.Tensor, probes: torch.Tensor) -> dict[str, float]:
    """Rank-1 and mean distances of the probes, and of the probes reduced and enlarged again."""
    network, result = identity_network(), {}
    known = identity_embeddings(network, gallery)
    reduced = {"_from_16px": _through(probes, 4), "_from_8px": _through(probes, 8)}
    for name, images in {"": probes, **reduced}.items():
        distance = torch.cdist(identity_embeddings(network, images), known)
        is_nearest = distance.argmin(1) == torch.arange(PEOPLE)
        result[f"rank1{name}"] = float(is_nearest.float().mean())
        result[f"same_distance{name}"] = float(distance.diagonal().mean())
        off = distance[~torch.eye(PEOPLE, dtype=torch.bool)]
        result[f"other_distance{name}"] = float(off.mean())
    return result


def _parse_options() -> None:
    """There are none but --help; anything else is refused before minutes are spent."""
    raw = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser(description=__doc__, formatter_class=raw).parse_args()


def _timed(person: int, shots: list[Shot]) -> tuple[list[Picture], float]:
    """The pictures, and the processor seconds an image costs with VIEWS views to a person."""
    start = time.process_time()
    built = model(person)
    made = time.process_time()
    pictures = [
        render(built, view(shot.view, built.who, shot.frontal), shot.frame) for shot in shots
    ]
    return pictures, (made - start) / VIEWS + (time.process_time() - made) / len(shots)


def _crop(picture: Picture, size: int = 64) -> torch.Tensor:
    """The face as curation crops it, (3, size, size) in [0, 1].

    That is a square 1.3 times the box's longer side.
    """
    x, y, w, h = picture.box
    side = round(1.3 * max(w, h))
    left, top = round(x + w / 2 - side / 2), round(y + h / 2 - side / 2)
    padded = cv2.copyMakeBorder(picture.image, side, side, side, side, cv2.BORDER_REFLECT_101)
    cut = padded[top + side : top + 2 * side, left + side : left + 2 * side]
    small = cv2.resize(cut, (size, size), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(small).permute(2, 0, 1).float() / 255


def _through(images: torch.Tensor, scale: int) -> torch.Tensor:
    """Reduced `scale` times and enlarged again."""
    size = (images.shape[-2], images.shape[-1])
    return enlarge(reduce(images, scale), size).clamp(0, 1)


if __name__ == "__main__":
    main()
