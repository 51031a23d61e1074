"""Samples: how they differ, whether their spread knows the error,
and which latent units are alive.
"""

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from helpers import make_curated

from refsr.dataset.curated import Curated
from refsr.evaluation import networks, samples
from refsr.evaluation.pairing import pairs
from refsr.models import Output


class Noisy:
    """Mid-grey with noise of 8 levels; two of its four latent dimensions follow the image."""

    config: ClassVar[dict[str, Any]] = {"scale": 4, "hr_size": 32}
    draws_samples = True

    def upscale(
        self, lr: torch.Tensor, ref: torch.Tensor | None = None, *, temperature: float = 0.0
    ) -> torch.Tensor:
        return 0.5 + temperature * 8 / 255 * torch.randn(len(lr), 3, 32, 32)

    def __call__(self, lr: torch.Tensor, hr: torch.Tensor, ref: torch.Tensor | None) -> Output:
        mean = hr.mean((1, 2, 3))
        prior = torch.stack([mean, mean, mean, mean], 1)
        posterior = prior + torch.stack([20 * mean, -20 * mean, 0 * mean + 3, 0 * mean], 1)
        return Output(hr, torch.full((4,), 0.5), posterior, prior)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Curated:
    return Curated(make_curated(tmp_path_factory.mktemp("curated"), identities=5, images=2))


def models(network: Any) -> networks.Models:
    return networks.Models({"refsr": network}, 4, "cpu")


def test_diversity_of_known_noise(faces: Curated) -> None:
    """Two Gaussians of 8 levels lie 8 * 2 / sqrt(pi) apart on average; their spread is 8."""
    torch.manual_seed(0)
    result = samples.diversity(faces, models(Noisy()), pairs(faces.table, 0), count=6, batch_size=4)
    assert (result["samples"], result["images"]) == (6, 5)
    assert result["distance"] == pytest.approx(8 * 2 / np.sqrt(np.pi), rel=0.02)
    predicted = np.mean([each["predicted"] ** 2 for each in result["calibration"].values()]) ** 0.5
    assert predicted == pytest.approx(8 * np.sqrt(1 + 1 / 6), rel=0.02)
    assert result["calibration_ratio"] > 2  # grey is far from a face, and the spread does not know


def test_a_network_without_samples_has_no_diversity(faces: Curated) -> None:
    class Still(Noisy):
        draws_samples = False

    assert samples.diversity(faces, models(Still()), pairs(faces.table, 0), 2, 4) == {}


def test_pairwise_distance_is_the_mean_over_pairs() -> None:
    drawn = torch.tensor([[0.0, 0.0], [1.0, 0.0], [3.0, 0.0]])[:, :, None]
    assert samples.pairwise(drawn).tolist() == [2.0, 0.0]


def test_calibration_of_a_spread_that_is_the_error() -> None:
    """Errors drawn with the predicted variance lie on the diagonal; doubled, the ratio is 2."""
    rng = np.random.default_rng(0)
    predicted = rng.uniform(0.001, 0.01, 200_000)
    errors = rng.normal(size=len(predicted)) * np.sqrt(predicted)
    result = samples.calibration(predicted, errors**2)
    assert result["calibration_ratio"] == pytest.approx(1.0, abs=0.02)
    for each in result["calibration"].values():
        assert each["actual"] == pytest.approx(each["predicted"], rel=0.05)
    assert samples.calibration(predicted, (2 * errors) ** 2)["calibration_ratio"] == pytest.approx(
        2.0, abs=0.04
    )


def test_active_units_are_those_that_follow_the_image(faces: Curated) -> None:
    """A unit moved by a constant tells nothing of the image,
    nor does one that stays with the prior.
    """
    result = samples.active_units(
        samples.latents(faces, models(Noisy()), pairs(faces.table, 0), batch_size=4, seed=0)
    )
    assert result == pytest.approx({"units": 4, "active": 2, "kl": 2.0})


def _first_pixel(images: torch.Tensor) -> torch.Tensor:
    """A direction by the grey of the first pixel."""
    angle = images[:, 0, 0, 0]
    return torch.stack([angle.cos(), angle.sin()], 1)


def _grey(*levels: float) -> torch.Tensor:
    values = torch.tensor(levels)[:, None, None, None]
    return values.expand(-1, 3, 32, 32)


def test_the_nearest_sample_is_that_of_the_reference() -> None:
    outputs = torch.stack(
        [
            _grey(0.5, 0.5),
            _grey(0.1, 0.9),
            _grey(0.4, 0.2),
        ]
    )
    hr, ref = _grey(0.4, 0.7), _grey(0.3, 1.0)
    best = samples.best_of(outputs, hr, ref, _first_pixel)
    apart = torch.tensor([0.0, 0.2])
    nearest = best["nearest"]
    same = pytest.approx(apart.cos())
    assert nearest["identity"] == same
    assert nearest["psnr"][1] == pytest.approx(-20 * np.log10(0.2), rel=1e-4)
    mean = (0.3 + 0.0, 0.2 + 0.5)
    cosines = [
        (np.cos(mean[0]) + 1) / 2,
        (np.cos(0.2) + np.cos(0.5)) / 2,
    ]
    every = best["sample"]["identity"]
    assert every == pytest.approx(cosines)
    plain = best["output"]["identity"]
    assert plain[0] == pytest.approx(np.cos(0.1))


def test_samples_are_chosen_where_asked(
    faces: Curated,
) -> None:
    test = pairs(faces.table, 0)
    torch.manual_seed(0)
    given = samples.diversity(faces, models(Noisy()), test, 3, 8)
    assert "best" not in given
    torch.manual_seed(0)
    chosen = samples.diversity(
        faces,
        models(Noisy()),
        test,
        3,
        8,
        _first_pixel,
        50,
    )
    best = chosen.pop("best")
    assert chosen == given
    names = ["output", "sample", "nearest"]
    assert list(best) == names
    interval = best["nearest"]["psnr"]
    low, high = interval["low"], interval["high"]
    assert low <= interval["mean"] <= high
