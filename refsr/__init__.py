"""Reference-based face super-resolution: a small photo of a face and a good photo of the person give a sharp face."""

__version__ = "0.1.0"
