"""Tools of the repository: images, manifests, local services, code metrics."""
