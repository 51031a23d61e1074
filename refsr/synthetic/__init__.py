"""Rendered faces in the layout of VGGFace2, with planted defects."""
