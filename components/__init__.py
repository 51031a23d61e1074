"""The stages as Kubeflow components, and the controller of trainings on several nodes."""
