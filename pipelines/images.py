"""The image of a run: its tag, and its digest, which names the same bytes for ever."""

from pathlib import Path

from pipelines.compile import immutable_image
from refsr.errors import RefsrError
from refsr.strict_yaml import read_yaml

PUSHED = Path(__file__).parents[1] / "k8s/image/kustomization.yaml"  # written by `make push`
PREFIX = 12  # characters of a digest that stand for a tag


def image_of(name: str, *, require_digest: bool = False) -> str:
    """The image with a tag, and with its digest if `make push` recorded it.

    Raises:
        RefsrError: The tag may move, or a digest is required and not known.
    """
    image = immutable_image(name)
    if "@" in image:
        return image
    digest = _pushed_digest(image)
    if digest:
        return f"{image}@{digest}"
    if require_digest:
        raise RefsrError(
            f"--image {image}: no digest, which `target.require_digest` of the cluster file asks "
            f"for; pass {image}@sha256:..., or run `make push`, which records it in k8s/image"
        )
    return image


def tag_of(image: str) -> str:
    """The tag of an image, or the start of its digest if it has no tag."""
    reference, _, digest = image.partition("@")
    tag = reference.rpartition("/")[2].partition(":")[2]
    return tag or digest.removeprefix("sha256:")[:PREFIX]


def _pushed_digest(image: str) -> str | None:
    """The digest that k8s/image has for this name and tag; None without one."""
    if not PUSHED.is_file():
        return None
    for each in (read_yaml(PUSHED) or {}).get("images", []):
        if image == f"{each.get('newName')}:{each.get('newTag')}":
            digest: str | None = each.get("digest")
            return digest
    return None
