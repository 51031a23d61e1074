"""A sound curated set passes; each expectation is broken once by doctoring,
and the breach is reported.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pages import pictures
from raw_trees import embed_colour, make_raw

from refsr.config import Curate, Validate
from refsr.curation.curated_writer import write_curated
from refsr.errors import RefsrError
from refsr.steps.validate import validate
from refsr.tracker import NullTracker

PARAMS = Curate(hr_size=32, shard_images=10)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    write_curated(PARAMS, make_raw(folder / "raw"), folder / "curated", embed_colour, 1)
    return folder / "curated"


@pytest.fixture
def curated(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "curated"))


def run(curated: Path, params: Validate | None = None) -> dict[str, float]:
    return validate(
        params or Validate(),
        NullTracker(),
        curated=curated,
        validation=curated.parent / "validation",
    )


def doctor(curated: Path, *changes: Callable[[pd.DataFrame], pd.DataFrame | None]) -> None:
    path = curated / "manifest.parquet"
    table = pd.read_parquet(path)
    for change in changes:
        changed = change(table)
        table = table if changed is None else changed
    table.to_parquet(path, index=False)


def breaches(curated: Path, params: Validate | None = None) -> str:
    """What the refusal tells; the documents must be there too."""
    with pytest.raises(RefsrError) as caught:
        run(curated, params)
    result = curated.parent / "validation" / "result.json"
    assert str(result) in str(caught.value)
    assert not json.loads(result.read_text())["success"]
    assert (curated.parent / "validation" / "data_docs" / "index.html").is_file()
    page = (curated.parent / "validation" / "report.html").read_text()
    assert pictures(page) == []
    assert "The curated set breaks " in page
    return str(caught.value)


def put(column: str, value: object, *rows: int) -> Callable[[pd.DataFrame], None]:
    def change(table: pd.DataFrame) -> None:
        table.loc[list(rows or (2,)), column] = value

    return change


def same(column: str) -> Callable[[pd.DataFrame], None]:
    def change(table: pd.DataFrame) -> None:
        table.loc[2, column] = table.loc[3, column]

    return change


def lonely(table: pd.DataFrame) -> pd.DataFrame:
    """The first identity is left with its reference alone."""
    first = table["identity"] == table.loc[0, "identity"]
    return table[~first | (table["role"] == "reference")]


def no_test_reference(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table["split"] == "train") | (table["role"] == "image")]


def test_a_sound_set_passes_and_is_documented(curated: Path) -> None:
    metrics = run(curated)
    assert metrics["rows.images"] == metrics["rows.pixels"] == 35
    result = json.loads((curated.parent / "validation" / "result.json").read_text())
    assert result["success"]
    assert len(result["expectations"]) == metrics["expectations"]
    html = (curated.parent / "validation" / "data_docs" / "index.html").read_text()
    assert all(name in html for name in ("schema", "images", "identities", "totals", "pixels"))
    page = (curated.parent / "validation" / "report.html").read_text()
    assert pictures(page) == []  # and nothing else from elsewhere
    assert page.count(">holds</td>") == metrics["expectations"]
    assert "identity is str" in page


def test_the_pixel_sample_is_as_large_as_asked(curated: Path) -> None:
    assert run(curated, Validate(sample=7))["rows.pixels"] == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda table: table.drop(columns="yaw"),
            "schema: expect_table_columns_to_match_ordered_list()",
        ),
        (
            lambda table: table.astype({"dhash": "int64"}),
            "schema: expect_column_values_to_be_of_type(dhash)",
        ),
    ],
)
def test_another_schema_is_a_breach(
    curated: Path, change: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    doctor(curated, change)
    assert message in breaches(curated)


# Each doctored value and the expectation that tells of it;
# together in one set, since they do not touch each other.
VALUES = [
    (put("identity", None), "images: expect_column_values_to_not_be_null(identity)"),
    (put("source", None), "images: expect_column_values_to_not_be_null(source)"),
    (put("sex", "x", 21, 22, 23, 24, 25), "images: expect_column_values_to_be_in_set(sex)"),
    (put("split", "val", 7), "images: expect_column_values_to_be_in_set(split)"),
    (put("role", "hr", 8), "images: expect_column_values_to_be_in_set(role)"),
    (put("identity", "train/Davis", 9), "images: expect_column_values_to_match_regex(identity)"),
    (put("sha256", "0" * 63), "images: expect_column_values_to_match_regex(sha256)"),
    (put("x", -1), "images: expect_column_values_to_be_between(x)"),
    (put("y", -1), "images: expect_column_values_to_be_between(y)"),
    (put("w", 0), "images: expect_column_values_to_be_between(w)"),
    (put("h", 0), "images: expect_column_values_to_be_between(h)"),
    (put("width", 50, 3), "images: expect_column_pair_values_a_to_be_greater_than_b(width, right)"),
    (
        put("height", 50, 3),
        "images: expect_column_pair_values_a_to_be_greater_than_b(height, bottom)",
    ),
    (put("yaw", 91), "images: expect_column_values_to_be_between(yaw)"),
    (put("sharpness", 0), "images: expect_column_values_to_be_between(sharpness)"),
    (put("sharpness", np.nan, 3), "images: expect_column_values_to_not_be_null(sharpness)"),
    (put("identity_distance", 3), "images: expect_column_values_to_be_between(identity_distance)"),
    (put("shard", -1, 12), "images: expect_column_values_to_be_between(shard)"),
    (put("index", -1, 13), "images: expect_column_values_to_be_between(index)"),
    (
        put("index", 10, 14),
        "images: expect_column_pair_values_a_to_be_greater_than_b(shard_rows, index)",
    ),
    (put("dhash", 1, 15), "pixels: expect_column_values_to_be_between(hash_bits)"),
]


@pytest.fixture(scope="module")
def message(sound: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    curated = Path(shutil.copytree(sound, tmp_path_factory.mktemp("doctored") / "curated"))
    doctor(curated, *(change for change, _ in VALUES))
    return breaches(curated)


@pytest.mark.parametrize("expectation", [expectation for _, expectation in VALUES])
def test_a_value_out_of_bounds_is_a_breach(message: str, expectation: str) -> None:
    assert f"- {expectation}, i.e. " in message


def test_rows_in_breach_are_counted_and_three_are_listed(sound: Path, message: str) -> None:
    sources = pd.read_parquet(sound / "manifest.parquet")["source"]
    line = next(line for line in message.splitlines() if "(sex)" in line)
    assert "5 rows: " in line
    assert [source in line for source in sources[21:25]] == [True, True, True, False]


def test_what_must_be_unique_is(curated: Path) -> None:
    doctor(curated, same("source"), same("sha256"), same("index"))
    message = breaches(curated)
    for column in ("source", "sha256"):
        assert f"images: expect_column_values_to_be_unique({column})" in message
    assert "images: expect_compound_columns_to_be_unique(shard, index), i.e. " in message


def test_a_shard_that_is_missing_is_a_breach(curated: Path) -> None:
    (curated / "hr-00003.npy").unlink()
    assert "expect_column_pair_values_a_to_be_greater_than_b(shard_rows, index)" in breaches(
        curated
    )


def test_groups_are_whole(curated: Path) -> None:
    doctor(
        curated,
        put("split", "train", 34),
        put("role", "reference", 6),
        put("role", "image", 10),
        lonely,
    )
    message = breaches(curated)
    assert (
        "identities: expect_column_values_to_be_between(splits), "
        "i.e. an identity is in one split only: 1 rows" in message
    )
    assert "i.e. an identity has exactly one reference: 2 rows" in message
    assert "i.e. an identity has an image beside its reference: 1 rows" in message


def test_each_test_identity_needs_its_reference(curated: Path) -> None:
    doctor(curated, no_test_reference)
    assert "i.e. each test identity has a reference: 3 rows: identity n000005" in breaches(curated)


def overwrite(curated: Path, shard: int, pixels: np.ndarray) -> None:
    np.save(curated / f"hr-{shard:05d}.npy", pixels)


def test_pixels_that_are_not_the_manifests_are_a_breach(curated: Path) -> None:
    overwrite(curated, 1, np.full((10, 32, 32, 3), 7, np.uint8))
    message = breaches(curated)
    for column in ("contrast", "sharpness", "hash_bits"):
        assert f"pixels: expect_column_values_to_be_between({column}), i.e. " in message


def test_shards_of_another_shape_are_a_breach(curated: Path) -> None:
    overwrite(curated, 2, np.random.default_rng(0).integers(0, 256, (10, 32, 24, 3), np.uint8))
    assert "i.e. each image has its place in a sound shard: 10 rows" in breaches(curated)


def test_a_copy_across_the_splits_is_a_breach_that_names_the_other_image(curated: Path) -> None:
    table = pd.read_parquet(curated / "manifest.parquet")
    a, b = 0, len(table) - 1
    shards = {number: np.load(curated / f"hr-{number:05d}.npy") for number in (0, 3)}
    shards[3][table.at[b, "index"]] = shards[0][table.at[a, "index"]]
    overwrite(curated, 3, shards[3])
    doctor(curated, put("dhash", table["dhash"].to_numpy()[a], b))
    message = breaches(curated)
    assert "no near-duplicate across the splits: 2 rows" in message
    assert f"copy_in_other_split {table.at[a, 'source']}" in message


def test_a_column_that_the_docs_offer_is_accepted_and_its_type_is_held(curated: Path) -> None:
    doctor(curated, lambda table: table.assign(skin_tone="type V"))
    run(curated)
    doctor(curated, lambda table: table.assign(skin_tone=5))
    assert "skin_tone is str" in breaches(curated)
