"""The graph of the stages on Kubeflow, what its tasks ask of a cluster, and how a run is submitted."""
