"""What a raw set looks like: VGGFace2, or a folder per person."""
