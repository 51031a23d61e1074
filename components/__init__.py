"""The stages as Kubeflow components: typed shells around refsr.steps.run; and the controller of TrainJobs."""
