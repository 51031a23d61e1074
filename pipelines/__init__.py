"""The pipelines on Kubeflow: graphs of the components, what tasks request, and the commands."""
