"""Copies are found by hash and confirmed by their pixels."""

import cv2
import numpy as np
import pytest
from raw_trees import draw

from refsr.curation import hash_search, image_stats
from refsr.curation.duplicates import correlate, find_copies, likeness
from refsr.curation.hash_search import close_hashes


def test_close_hashes_are_all_pairs_within_the_distance_whatever_the_block() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, 1500, dtype=np.uint64)
    hashes[1400] = hashes[3] ^ np.uint64(0b1011)
    hashes[5] = hashes[4]
    assert close_hashes(hashes, 3).tolist() == [[3, 1400], [4, 5]]
    assert close_hashes(hashes, 2).tolist() == [[4, 5]]
    assert close_hashes(hashes[:0], 6).shape == (0, 2)


@pytest.mark.parametrize("max_bits", [0, 5, 8, 14, 20])
def test_close_hashes_miss_none_and_tell_each_pair_once(max_bits: int) -> None:
    rng = np.random.default_rng(max_bits)
    hashes = rng.integers(0, 2**64, 900, dtype=np.uint64)
    for row in range(300):
        flips = rng.choice(64, rng.integers(0, 22), replace=False)
        hashes[600 + row] = hashes[row] ^ np.uint64(sum(1 << int(bit) for bit in flips))
    bits = np.bitwise_count(hashes[:, None] ^ hashes[None])
    expected = np.argwhere(np.triu(bits <= max_bits, 1))
    np.testing.assert_array_equal(close_hashes(hashes, max_bits), expected)


def test_hashes_that_are_all_the_same_are_compared_in_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hash_search, "_BLOCK", 50)
    hashes = np.full(40, 7, np.uint64)
    np.testing.assert_array_equal(
        close_hashes(hashes, 3),
        np.argwhere(np.triu(np.ones((40, 40)), 1)),
    )


def test_correlation_is_one_for_the_same_up_to_contrast_and_nought_for_a_flat_image() -> None:
    a = draw(1, 1)[None, :, :, 0]
    dim = (a * 0.5 + 30).astype(np.uint8)
    assert correlate(a, dim)[0] > 0.999
    assert correlate(a, 255 - a)[0] < -0.999
    assert correlate(a, np.full_like(a, 7))[0] == 0


def test_a_reencoded_copy_is_a_copy_and_another_picture_with_the_same_hash_is_not() -> None:
    original = draw(1, 1)
    copy = cv2.convertScaleAbs(cv2.resize(original[2:-2, 2:-2], (120, 120)), alpha=1.1)
    images = [original, draw(1, 2), copy]
    thumbs = np.stack([image_stats.thumbnail(image) for image in images])
    hashes = image_stats.difference_hash(
        image_stats.miniatures(np.stack([original, original, copy])),
    )
    pairs, alike = find_copies(hashes, thumbs, np.zeros((3, 2)), 12)
    assert pairs.tolist() == [[0, 2]]
    assert 0.88 <= alike[0] <= 1


def test_likeness_bears_a_small_shift_but_not_another_picture() -> None:
    image = cv2.GaussianBlur(image_stats.luminance(draw(1, 1)), (0, 0), 4)
    a, b = (
        cv2.resize(image[at : at + 100, at : at + 100], (32, 32), interpolation=cv2.INTER_AREA)
        for at in (2, 6)
    )
    assert correlate(a[None], b[None])[0] < likeness(a[None], b[None])[0]
    assert likeness(a[None], b[None])[0] > 0.9
    assert likeness(a[None], a[None])[0] > 0.999
    assert likeness(a[None], 255 - a[None])[0] == 0


def test_pictures_are_copies_only_where_the_faces_are_near() -> None:
    a = image_stats.thumbnail(cv2.GaussianBlur(draw(1, 1), (0, 0), 4))
    noise = np.random.default_rng(0).normal(0, 1, a.shape)
    b = next(
        thumb
        for sigma in range(1, 60)
        if likeness(a[None], (thumb := np.clip(a + sigma * noise, 0, 255).astype(np.uint8))[None])[
            0
        ]
        < 0.85
    )
    hashes = np.zeros(2, np.uint64)
    for apart, expected in ((0.1, [[0, 1]]), (0.6, [])):
        pairs, _ = find_copies(hashes, np.stack([a, b]), np.array([[0.0], [apart]]), 12)
        assert pairs.tolist() == expected


def test_the_projection_misses_no_copy() -> None:
    rng = np.random.default_rng(0)
    picture = image_stats.thumbnail(cv2.GaussianBlur(draw(1, 1), (0, 0), 4)).astype(int)
    thumbs = np.clip(picture + rng.normal(0, 2, (60, *picture.shape)), 0, 255).astype(np.uint8)
    # Distances all around the limit, in far more dimensions than are looked at first.
    embeddings = rng.normal(0, 0.18 / np.sqrt(2 * 128), (60, 128)) * rng.uniform(0.5, 2, (60, 1))
    hashes = np.where(rng.random(60) < 0.9, 0, 2**40 - 1).astype(np.uint64)
    first, second = np.triu_indices(60, 1)
    apart = np.linalg.norm(embeddings[first] - embeddings[second], axis=1)
    alike = likeness(thumbs[first], thumbs[second])
    same = (hashes[first] == hashes[second]) & (apart <= 0.25) & (alike - apart / 2 >= 0.75)
    assert 200 < same.sum() < len(same) - 200
    pairs, expected_text = find_copies(hashes, thumbs, embeddings.astype(np.float32), 8)
    np.testing.assert_array_equal(pairs, np.stack([first, second], axis=1)[same])
    np.testing.assert_allclose(expected_text, alike[same])
