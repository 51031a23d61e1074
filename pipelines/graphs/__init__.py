"""The graphs of the pipelines."""
