"""What a version is in MLflow: a pyfunc model without any pickle, which a module of this package loads."""

import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

DATA = "model"  # the folder of the files inside a version's data
_PACKAGE = Path(__file__).parents[1]
_LOADER = "refsr.inference.serving_model"
_NEEDS = ("mlflow", "numpy", "safetensors", "torch")


def log_model(mlflow: Any, name: str, files: Mapping[str, Path], example: Mapping[str, np.ndarray]) -> Any:
    """Log a model of the run that is open; returns MLflow's description of it.

    Args:
        mlflow: The module, set to the store.
        name: The name of the model.
        files: What the model carries, by the name it has there.
        example: An input, {"lr", "ref"} of (N, h, w, 3) uint8.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / DATA
        data.mkdir()
        for file, path in files.items():
            (data / file).symlink_to(path.absolute())  # MLflow copies what they point to
        return mlflow.pyfunc.log_model(
            name=name,
            loader_module=_LOADER,
            data_path=str(data),
            code_paths=[str(_PACKAGE)],
            pip_requirements=[f"{each}=={version(each).split('+')[0]}" for each in _NEEDS],
            signature=_signature(),
            input_example=dict(example),
        )


def _signature() -> Any:
    """Batches of RGB photos of any size; a `ref` of no images at all, (0, H, W, 3), means that there is none."""
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    photos = (-1, -1, -1, 3)
    kind = np.dtype(np.uint8)
    return ModelSignature(
        inputs=Schema([TensorSpec(kind, photos, "lr"), TensorSpec(kind, photos, "ref")]),
        outputs=Schema([TensorSpec(kind, photos)]),
    )
