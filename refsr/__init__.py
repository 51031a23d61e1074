"""Reference-based face super-resolution.

A small photo of a face and a good photo of the person give a sharp face.
"""

import os
from typing import TYPE_CHECKING

from refsr.io.limits import MAX_PIXELS
from refsr.version import __version__

if TYPE_CHECKING:
    from refsr.inference.library import Upscaler

__all__ = ["__version__", "load"]

# Arrow's own allocator keeps some 30 MB of what is freed, many times what curation holds in it;
# the system's gives it back. Arrow looks at this once, when it is first used.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

# OpenCV looks at this once, when it is loaded: its decoders refuse what refsr refuses.
os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(MAX_PIXELS)


def load(
    source: str | os.PathLike[str],
    *,
    device: str = "cpu",
    realism: float = 0.0,
    tracking_uri: str | None = None,
) -> "Upscaler":
    """Load a trained model.

    Args:
        source: A checkpoint file, the folder that a training or `refsr push` wrote, a registered
            version (models:/NAME@ALIAS or models:/NAME/VERSION), or the .onnx file that
            `refsr export` wrote, which is run on the CPU without PyTorch. File and folder may be
            on S3: s3://BUCKET/KEY, with AWS_ENDPOINT_URL and keys in the environment.
        device: "cpu", "cuda", or "auto", which is CUDA where torch sees a GPU.
        realism: From 0, the weights that restore faithfully, to 1, those of the generative phase
            (train_refsr.sharpen), where the checkpoint has them: sharper, and more made up.
        tracking_uri: The MLflow store of registered versions; None: MLFLOW_TRACKING_URI, else
            the file mlflow.db of the present folder.

    Returns:
        The model. `load(...).upscale(photo, reference)` gives a larger face.

    Raises:
        refsr.errors.RefsrError: There is no such checkpoint or version, it is damaged or of
            another version of refsr, it had no generative phase, or there is no such device.
    """
    from refsr.loading import load

    return load(source, device=device, realism=realism, tracking_uri=tracking_uri)
