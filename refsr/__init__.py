"""Reference-based face super-resolution: a small photo of a face and a good photo of the person give a sharp face."""

import os

from refsr.io.limits import MAX_PIXELS

__version__ = "0.2.0"

# Arrow's own allocator keeps some 30 MB of what is freed, many times what curation holds in it; the system's gives it
# back. Arrow looks at this once, when it is first used.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

# OpenCV looks at this once, when it is loaded: its decoders refuse what refsr refuses.
os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(MAX_PIXELS)
