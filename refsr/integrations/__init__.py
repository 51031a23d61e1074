"""The only modules that name their vendor: MLflow, Great Expectations, DVC."""
