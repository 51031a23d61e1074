"""A curated set as a dataset of MLflow, which its pages of runs and models list."""

import json
from pathlib import Path
from typing import Any

from refsr.integrations.versioning import data_revision

CONTEXTS = {  # by stage: what the curated set is used for
    "train_sisr": "training",
    "train_refsr": "training",
    "evaluate": "evaluation",
    "merge_evaluation": "evaluation",
}
_DIGEST = 36  # characters that MLflow keeps


def dataset_input(curated: Path, context: str) -> Any:
    """The set as MLflow's client takes it: its revision, and how many images each split has."""
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

    # An absolute path would name the user or the machine.
    path = curated.name if curated.is_absolute() else str(curated)
    dataset = Dataset(
        name=curated.name,
        digest=data_revision(curated)[:_DIGEST],
        source_type="local",
        source=json.dumps({"uri": path}),
        profile=json.dumps(_images(curated / "manifest.parquet")),
    )
    return DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, context)])


def _images(manifest: Path) -> dict[str, int]:
    """Split -> images. Empty where the manifest cannot be read: the stage itself reports that."""
    from pyarrow import parquet

    try:
        splits = parquet.read_table(manifest, columns=["split"])["split"]
    except (OSError, ValueError):
        return {}
    return {str(each["values"]): each["counts"] for each in splits.value_counts().to_pylist()}
