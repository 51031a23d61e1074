"""A stage on several nodes: the TrainJob, the controller that waits for it, and what its nodes run."""
