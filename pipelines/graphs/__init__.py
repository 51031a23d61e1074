"""The graphs: training, reevaluation, inference and drift."""
