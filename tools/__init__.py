"""What only the repository needs: images, manifests, local services."""
