"""The few metrics of a stage that people look for first: metadata of its artifacts in Kubeflow."""

from refsr.headline import METRICS
from refsr.headline import headline as summary

__all__ = ["METRICS", "OF_THE_RUN", "summary"]

# Stages whose summary is that of the pipeline; a part of an evaluation has none.
OF_THE_RUN = ("evaluate", "merge_evaluation")
