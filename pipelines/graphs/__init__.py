"""The graphs: training, reevaluation and inference."""
