"""Pretrained networks.

Weights come in installed packages (weights.txt), VGG19's from a file of the user's; nothing is
fetched when they are used.

| network | trained for | used here as |
|---|---|---|
| dlib ResNet-29 (CC0) | to tell people apart, on photos | report: "identity"; loss, on request |
| EfficientNet-Lite0 (Apache-2.0) | ImageNet classes | loss |
| VGG16 of HED (MIT) | edges, from ImageNet weights | report: "perceptual"; loss, on request |
| VGG19 (not installed) | ImageNet classes | loss, on request |

The network that trains a property is not the one that reports it: which took part in training is
written into every checkpoint (`loss_networks`). All are frozen, in evaluation mode, and
differentiable with respect to their input. Their files are read as data; the packages themselves
are not imported.
"""

from refsr.models.pretrained.dlib import (
    CHIP_SIZE,
    DlibResNet,
    face_chips,
    identity_embeddings,
    identity_network,
    identity_similarity,
)
from refsr.models.pretrained.efficientnet import EfficientNetLite0Features
from refsr.models.pretrained.features import feature_distance
from refsr.models.pretrained.hed import VggHedFeatures
from refsr.models.pretrained.vgg19 import Vgg19Features

__all__ = [
    "CHIP_SIZE",
    "DlibResNet",
    "EfficientNetLite0Features",
    "Vgg19Features",
    "VggHedFeatures",
    "face_chips",
    "feature_distance",
    "identity_embeddings",
    "identity_network",
    "identity_similarity",
]
