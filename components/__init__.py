"""The stages as Kubeflow components: typed shells around refsr.steps.run, without logic of their own."""
