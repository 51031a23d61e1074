"""Training on several nodes: the TrainJob's spec, its controller, and its nodes' entrypoint."""
