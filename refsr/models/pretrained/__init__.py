"""Pretrained networks whose weights come in installed packages (weights.txt); nothing is fetched when they are used.

| network | trained for | used here as |
|---|---|---|
| dlib ResNet-29 (CC0) | telling people apart, on real photos | report: "identity" |
| EfficientNet-Lite0 (Apache-2.0) | ImageNet classes | loss |
| VGG16 of HED (MIT) | edges, from ImageNet weights | report: "perceptual" |

The network that trains a property is never the one that reports it. All are frozen, in evaluation mode, and
differentiable with respect to their input. Their files are read as data; the packages themselves are not imported.
"""

from refsr.models.pretrained.dlib import (
    CHIP_SIZE,
    DlibResNet,
    face_chips,
    identity_embeddings,
    identity_network,
    identity_similarity,
)
from refsr.models.pretrained.efficientnet import EfficientNetLite0Features, efficientnet_distance
from refsr.models.pretrained.features import feature_distance
from refsr.models.pretrained.hed import VggHedFeatures

__all__ = [
    "CHIP_SIZE",
    "DlibResNet",
    "EfficientNetLite0Features",
    "VggHedFeatures",
    "efficientnet_distance",
    "face_chips",
    "feature_distance",
    "identity_embeddings",
    "identity_network",
    "identity_similarity",
]
