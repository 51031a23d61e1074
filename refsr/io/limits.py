"""Limits of decoding one image."""

MAX_PIXELS = 64_000_000  # OpenCV and Pillow refuse larger images themselves
SECONDS = 30.0  # processor time per image, which does not depend on the machine's load
