"""Small curated sets for tests, and commands run as a user would."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from refsr.dataset.schema import CROP_LANDMARKS
from refsr.evaluation.conditions import MAIN, SHARP

# The main conditions of models that had no generative phase.
FAITHFUL = [name for name, each in MAIN.items() if each.model != SHARP]


def make_curated(
    folder: Path,
    identities: int = 6,
    images: int = 2,
    size: int = 32,
    train: int = 0,
    validation: int = 0,
    pixels: np.ndarray | None = None,
) -> Path:
    """A curated folder: each identity has one reference and `images` images.

    The first `train` identities are for training, the next `validation` for validation. Pixels
    are smooth blobs, a pattern per identity with a little change per image, unless `pixels`
    (identities, images + 1, size, size, 3) uint8 are given.
    """
    folder.mkdir(parents=True, exist_ok=True)
    views = images + 1
    if pixels is None:
        pixels = np.stack([_views(identity, views, size) for identity in range(identities)])
    splits = ["train"] * train + ["validation"] * validation + ["test"] * identities
    rows = [
        {
            "identity": f"n{identity:06d}",
            "split": splits[identity],
            "role": "reference" if view == 0 else "image",
            "source": f"n{identity:06d}/{view:04d}_01.jpg",
            "shard": 0,
            "index": identity * views + view,
            "sex": "f" if identity % 2 else "m",
            **dict(zip(CROP_LANDMARKS, _landmarks(view, size), strict=True)),
        }
        for identity in range(identities)
        for view in range(views)
    ]
    pd.DataFrame(rows).to_parquet(folder / "manifest.parquet")
    np.save(folder / "hr-00000.npy", pixels[:, :views].reshape(-1, *pixels.shape[2:]))
    return folder


def _landmarks(view: int, size: int) -> np.ndarray:
    """Ten numbers: five points, in pixels, a little elsewhere in each view."""
    points = np.array([(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.75), (0.65, 0.75)])
    return ((points + 0.01 * view) * size).ravel()


def _views(identity: int, views: int, size: int) -> np.ndarray:
    """(views, size, size, 3) uint8: waves whose directions and colours belong to the identity,
    shifted per view.
    """
    rng = np.random.default_rng(identity)
    y, x = np.mgrid[:size, :size] / size
    directions, phases = rng.normal(0, 6, (2, 5)), rng.uniform(0, 6, 5)
    colours = rng.uniform(-0.25, 0.25, (5, 3))
    shifts = np.random.default_rng((identity, 1)).normal(0, 0.4, views)
    waves = [
        np.sin(x[..., None] * directions[0] + y[..., None] * directions[1] + phases + shift)
        for shift in shifts
    ]
    return ((np.stack(waves) @ colours + 0.5).clip(0, 1) * 255).astype(np.uint8)


def let_others_in(folder: Path) -> None:
    """PostgreSQL runs as a user of its own where the tests are root:
    it has to reach what lies in a test's folder.
    """
    temporary = Path(tempfile.gettempdir())
    for path in (folder, *folder.parents):
        if path.is_relative_to(temporary) and path != temporary:
            path.chmod(0o755)


def commit_all(folder: Path, message: str) -> None:
    """Commit all files of a git repository, as an author of no configuration."""
    author = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    run_in(folder, "git", "add", "--all")
    run_in(folder, "git", *author, "commit", "--quiet", "-m", message)


def run_in(folder: Path, *command: str, status: int = 0) -> str:
    """Run a command there and return what it printed; its exit status must be `status`."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    }
    environment.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        umask=0o077,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == status, done.stdout
    assert "Traceback" not in done.stdout
    return done.stdout


def holds_only_finished(volume: Path) -> bool:
    """Whether a volume for unfinished work has none left: what it has waits to be deleted."""
    works = [path for path in volume.iterdir() if path.is_dir()]
    return all(any(work.rglob("finished.json")) for work in works)
