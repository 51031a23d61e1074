"""A version as a model of MLflow: a pyfunc without pickle, loaded by a module of this package."""

import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

DATA = "model"  # the folder of the files inside a version's data
_PACKAGE = Path(__file__).parents[1]
_LOADER = "refsr.inference.serving_model"
_REQUIREMENTS = ("mlflow", "numpy", "safetensors", "torch")


def log_model(
    mlflow: Any,
    name: str,
    files: Mapping[str, Path],
    example: Mapping[str, np.ndarray],
) -> Any:
    """Log a model of the open run.

    Args:
        mlflow: The module, set to the store.
        name: The name of the model.
        files: The files of the model, by the name each has there.
        example: An input, {"lr", "ref"} of (N, h, w, 3) uint8.

    Returns:
        MLflow's description of the model.
    """
    pins = [f"{each}=={version(each).split('+')[0]}" for each in _REQUIREMENTS]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / DATA
        data.mkdir()
        for file, path in files.items():
            (data / file).symlink_to(path.absolute())  # MLflow copies the target
        return mlflow.pyfunc.log_model(
            name=name,
            loader_module=_LOADER,
            data_path=str(data),
            code_paths=[str(_PACKAGE)],
            pip_requirements=pins,
            signature=_signature(),
            input_example=dict(example),
        )


def _signature() -> Any:
    """Batches of RGB images of any size.

    `ref` is `object`, for which MLflow lets every array pass: JSON has no list of no images that
    has four dimensions.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    shape = (-1, -1, -1, 3)
    kind = np.dtype(np.uint8)
    inputs = [TensorSpec(kind, shape, "lr"), TensorSpec(np.dtype(object), (-1,), "ref")]
    scores = TensorSpec(np.dtype(float), (-1,), "compatibility")
    return ModelSignature(
        inputs=Schema(inputs), outputs=Schema([TensorSpec(kind, shape, "sr"), scores])
    )
