"""The networks under test: load their checkpoints, and refuse those that do not fit together."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from refsr.errors import RefsrError
from refsr.evaluation.conditions import SHARP, Condition, conditions_of
from refsr.models import SuperResolver
from refsr.models.checkpoint import has_sharp, load_model
from refsr.parameter_types import MIN_MEASURED


@dataclass(frozen=True)
class Models:
    """The networks under test by name, "refsr" among them.

    The scale they share, and the device they are on.
    """

    networks: dict[str, SuperResolver]
    scale: int
    device: str

    @property
    def refsr(self) -> SuperResolver:
        """The reference model the evaluation is about."""
        return self.networks["refsr"]

    @property
    def conditions(self) -> dict[str, Condition]:
        """The conditions that these networks can fill."""
        fixed = {name for name, each in self.networks.items() if not can_draw(each)}
        return conditions_of(self.networks, fixed)


def load_models(paths: Mapping[str, Path], hr_size: int) -> Models:
    """These checkpoints by name, and `sharp` where that of RefSR had a generative phase.

    Raises RefsrError where one is missing, or does not fit the others or the images.
    """
    if hr_size < MIN_MEASURED:
        raise RefsrError(
            f"HR images of {hr_size} pixels cannot be measured; "
            f"curate with hr_size {MIN_MEASURED} or more"
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    networks = {name: cast(SuperResolver, load_model(path, device)) for name, path in paths.items()}
    if has_sharp(paths["refsr"]):
        networks[SHARP] = cast(SuperResolver, load_model(paths["refsr"], device, realism=1.0))
        paths = {**paths, SHARP: paths["refsr"]}
    _check_kinds(networks, paths)
    scale = int(networks["refsr"].config["scale"])
    _check_sizes(networks, paths, {"scale": scale, "hr_size": hr_size})
    return Models(networks, scale, device)


def _check_kinds(networks: Mapping[str, SuperResolver], paths: Mapping[str, Path]) -> None:
    for name, network in networks.items():
        model = network.config["model"]
        expected = "sisr" if name == "sisr" else "refsr"
        if model != expected:
            raise RefsrError(
                f"{paths[name]}: a {model} network; `{name}` is to be a {expected} one",
            )


def _check_sizes(
    networks: Mapping[str, SuperResolver],
    paths: Mapping[str, Path],
    sizes: Mapping[str, int],
) -> None:
    for key, expected in sizes.items():
        for name, network in networks.items():
            value = network.config[key]
            if value != expected:
                raise RefsrError(
                    f"{paths[name]}: trained for {key} {value}, not {expected} as the rest; "
                    "train it again"
                )


def can_draw(network: SuperResolver) -> bool:
    """Whether a network can draw its code from the prior, by a temperature or by a mode."""
    return network.draws_samples or draws_by_mode(network)


def draws_by_mode(network: SuperResolver) -> bool:
    """Whether a network draws its code by a mode."""
    return "mode" in network.config  # the published networks, which have no temperature
