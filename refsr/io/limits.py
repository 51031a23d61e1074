"""How much one image may take, whoever decodes it."""

MAX_PIXELS = 64_000_000  # of an image; OpenCV and Pillow refuse more by themselves
SECONDS = 30.0  # of processor time for one image, so that a busy machine changes nothing
