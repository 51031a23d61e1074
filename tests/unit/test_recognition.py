"""Verification and the kernel distance, against scikit-learn and sums written out."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from refsr.evaluation import kid, recognition


def embeddings(
    people: int = 12, images: int = 5, noise: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(probes (N, 16), their persons, a gallery image of each person)."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(people, 16))
    persons = np.repeat([f"n{person}" for person in range(people)], images)
    probes = np.repeat(centres, images, axis=0) + noise * rng.normal(size=(len(persons), 16))
    return probes, persons, centres + 0.3 * rng.normal(size=centres.shape)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_verification_agrees_with_scikit_learn() -> None:
    """Everybody has as many images, so the mean over people is the one over pairs."""
    probes, persons, gallery = embeddings()
    owners = np.unique(persons)
    order = np.argsort([f"n{person}" for person in range(12)])
    threshold = recognition.true_threshold(probes, persons, gallery[order], owners)
    auc, tar, far = recognition.verification(probes, persons, gallery[order], owners, threshold)
    assert 0 < far.mean() <= 1e-2
    genuine = persons[:, None] == owners[None]
    scores = unit(probes) @ unit(gallery[order]).T
    assert auc.shape == tar.shape == (12,)
    assert auc.mean() == pytest.approx(roc_auc_score(genuine.ravel(), scores.ravel()))
    rate, accepted, _ = roc_curve(genuine.ravel(), scores.ravel(), drop_intermediate=False)
    assert tar.mean() == pytest.approx(accepted[rate <= 1e-2].max())
    assert 0.5 < auc.mean() < 1


def test_a_picture_is_no_genuine_pair_of_its_own() -> None:
    """With its own picture in the gallery everybody would be recognised by it."""
    probes, persons, _ = embeddings(noise=50.0)  # no person differs from another
    itself = np.eye(len(persons), dtype=bool)
    with_itself = recognition.verification(probes, persons, probes, persons, 0.5)
    without = recognition.verification(probes, persons, probes, persons, 0.5, itself)
    assert with_itself.auc.mean() > 0.55
    assert without.auc.mean() == pytest.approx(0.5, abs=0.08)


def test_verify_reports_each_condition_with_intervals() -> None:
    probes, persons, gallery = embeddings()
    owners = np.array([f"n{person}" for person in range(12)])
    noisy = probes + 3 * np.random.default_rng(1).normal(size=probes.shape)
    result, thresholds = recognition.verify(
        {"hr": probes, "sisr": noisy}, persons, gallery, owners, 200, 0
    )
    assert list(thresholds) == ["false_accept_rate", "references", "other_photos"]
    for numbers in result.values():
        one = ["auc", "tar", "far"]
        assert list(numbers) == [*one, *(f"{key}_other_photos" for key in one)]
        assert all(each["low"] <= each["mean"] <= each["high"] for each in numbers.values())
    assert result["hr"]["auc"]["mean"] > result["sisr"]["auc"]["mean"]
    assert result["hr"]["auc_other_photos"]["mean"] > result["sisr"]["auc_other_photos"]["mean"]
    single, _ = recognition.verify({"hr": gallery}, owners, gallery, owners, 200, 0)
    assert list(single["hr"]) == ["auc", "tar", "far"]


def test_the_threshold_is_fixed_on_true_photos() -> None:
    """Whoever is shown as the first person is accepted as him, and that is seen in FAR."""
    probes, persons, gallery = embeddings()
    owners = np.array([f"n{person}" for person in range(12)])
    shown = np.repeat(gallery[:1], len(probes), axis=0)
    alone, threshold = recognition.verify({"hr": probes}, persons, gallery, owners, 200, 0)
    both, same = recognition.verify(
        {"hr": probes, "first": shown}, persons, gallery, owners, 200, 0
    )
    assert (both["hr"], same) == (alone["hr"], threshold)
    assert both["hr"]["far"]["mean"] <= 1e-2
    assert both["first"]["tar"]["mean"] == pytest.approx(1 / 12)
    assert both["first"]["far"]["mean"] == pytest.approx(1 / 12)
    flat = np.ones_like(probes)
    alike, _ = recognition.verify({"hr": flat}, persons, np.ones((12, 16)), owners, 200, 0)
    assert alike["hr"]["auc"]["mean"] == 0.5 and alike["hr"]["tar"]["mean"] == 0


def test_threshold_lets_through_no_more_than_the_rate() -> None:
    impostors = np.arange(1000.0)
    threshold = recognition.accept_above(impostors)
    assert threshold == 989.0
    assert (impostors > threshold).mean() == 0.01
    assert recognition.accept_above(np.arange(50.0)) == 49.0


def test_squared_mmd_is_the_sum_written_out() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(4, 3)), rng.normal(1.0, 1.0, size=(5, 3))

    def k(x: np.ndarray, y: np.ndarray) -> float:
        return float((sum(p * q for p, q in zip(x, y, strict=True)) / 3 + 1) ** 3)

    aa = sum(k(a[i], a[j]) for i in range(4) for j in range(4) if i != j) / (4 * 3)
    bb = sum(k(b[i], b[j]) for i in range(5) for j in range(5) if i != j) / (5 * 4)
    ab = sum(k(x, y) for x in a for y in b) / 20
    assert kid.squared_mmd(a, b) == pytest.approx(aa + bb - 2 * ab)


def test_kernel_distance_tells_sets_apart_and_is_unbiased() -> None:
    """Features of another scale alone are no difference; of another direction they are."""
    rng = np.random.default_rng(0)
    a, same, other = (
        rng.normal(size=(300, 8)),
        7 * rng.normal(size=(300, 8)),
        rng.normal(0.5, 1, size=(300, 8)),
    )
    assert abs(kid.kernel_distance(a, same, 0)["mean"]) < 0.05
    assert kid.kernel_distance(a, other, 0)["mean"] > 0.3
    result = kid.kernel_distances({"sisr": a}, same, "some images", 0)
    assert result == {"reference_set": "some images", "sisr": kid.kernel_distance(a, same, 0)}
