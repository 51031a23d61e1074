"""The parameters of the steps that are no stages, and the list of all sections."""

from typing import Literal

from pydantic import field_validator

from refsr.config import SECTIONS, Section
from refsr.parameter_types import ModelUri, Repository, Revision, Share, Text
from refsr.redaction import holds_secret


class Fetch(Section):
    """Fetch the raw set that DVC tracks at `path` in a revision of a git repository."""

    repository: Repository  # URL or path
    path: Repository
    revision: Revision  # branch, tag or commit
    remote: Text | None = None  # name of the DVC remote; None: the default of the repository
    endpoint: Text | None = None  # URL of the S3 service; None: the one in the repository

    @field_validator("repository", "endpoint")
    @classmethod
    def _no_password(cls, url: str | None) -> str | None:
        if url and holds_secret(url):
            reason = "holds a password or token, and everyone who sees a run can read it"
            raise ValueError(f"{reason}; keep it in a Secret")
        return url


class Checkpoint(Section):
    """Copy a checkpoint out of the registry."""

    model: ModelUri = "models:/refsr@champion"


class UpscaleFolder(Section):
    """Upscale all images of a folder."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    realism: Share = 0.0  # 0: faithful; 1: the weights of the generative phase, if there are any


class Drift(Section):
    """Compare the faces that the service got with those of training."""

    fail: bool = False  # whether drift fails the task; its page is in MLflow all the same


SIDE_SECTIONS: dict[str, type[Section]] = {  # of steps that are not stages of dvc.yaml
    "fetch": Fetch,
    "checkpoint": Checkpoint,
    "upscale_folder": UpscaleFolder,
    "drift": Drift,
}
KNOWN = SECTIONS | SIDE_SECTIONS
