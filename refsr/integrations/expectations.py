"""Great Expectations: the rules for a curated set, and how it is checked against them."""

import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from refsr.config import Validate
from refsr.dataset.schema import HELD_OUT, SPLITS, columns_of
from refsr.dataset.schema import Column as ManifestColumn

os.environ.setdefault("GX_ANALYTICS_ENABLED", "False")  # read when the library is imported
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # the library imports sre_constants
    import great_expectations as gx
    import great_expectations.expectations as gxe
    from great_expectations.expectations.row_conditions import Column

_SITE = "data_docs"
_COLUMN_KEYS = ("column", "column_A", "column_B")
_REQUIRED = (
    "identity",
    "split",
    "role",
    "source",
    "x",
    "y",
    "w",
    "h",
    "sharpness",
    "sha256",
    "identity_distance",
)
Suite = list[Any]  # of expectations


class Outcome(NamedTuple):
    """The result of one expectation for one table."""

    table: str
    expectation: str  # its name and column(s)
    meaning: str
    success: bool
    unexpected: int  # rows in breach; 1 if the table as a whole is
    rows: list[int]  # positions of these rows; empty if the expectation is about the table
    observed: str  # the observed value, if the expectation is about the table


def check(
    frames: dict[str, pd.DataFrame],
    suites: dict[str, Suite],
    docs: Path,
) -> list[Outcome]:
    """Check each table against the suite of its name.

    Args:
        frames: Tables by name.
        suites: Expectations by the name of their table.
        docs: A new folder for Data Docs (HTML).

    Returns:
        The outcomes, in the order of tables and expectations.
    """
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    context.add_data_docs_site(_SITE, _site(docs))
    source = context.data_sources.add_pandas("curated")
    outcomes = []
    for name, frame in frames.items():
        outcomes += _check(context, source, name, frame, suites[name])
    context.build_data_docs(site_names=[_SITE])
    return outcomes


def _site(docs: Path) -> dict[str, Any]:
    return {
        "class_name": "SiteBuilder",
        "store_backend": {
            "class_name": "TupleFilesystemStoreBackend",
            "base_directory": str(docs.resolve()),
        },
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
    }


def _check(
    context: Any,
    source: Any,
    name: str,
    frame: pd.DataFrame,
    suite: Suite,
) -> list[Outcome]:
    asset = source.add_dataframe_asset(name)
    batch = asset.add_batch_definition_whole_dataframe("all")
    expectations = context.suites.add(gx.ExpectationSuite(name=name, expectations=suite))
    definition = gx.ValidationDefinition(name=name, data=batch, suite=expectations)
    run = context.validation_definitions.add(definition).run(
        batch_parameters={"dataframe": frame},
        result_format={"result_format": "COMPLETE"},
    )
    return [_outcome(name, result) for result in run.results]


def _outcome(table: str, result: Any) -> Outcome:
    config, details = result.expectation_config, result.result
    fault = result.exception_info.get("exception_message") or ""
    columns = [config.kwargs[key] for key in _COLUMN_KEYS if key in config.kwargs]
    columns += config.kwargs["column_list"] if "compound" in config.type else []
    observed = details.get("details") or details.get("observed_value")
    return Outcome(
        table=table,
        expectation=f"{config.type}({', '.join(columns)})",
        meaning=config.description or "",
        success=bool(result.success),
        unexpected=0 if result.success else int(details.get("unexpected_count") or 1),
        rows=[int(row) for row in details.get("unexpected_index_list") or []],
        observed=fault or ("" if observed is None else str(observed)),
    )


def suites(params: Validate, columns: Iterable[str] = ()) -> dict[str, Suite]:
    """The expectations by table of refsr.curation.checks; `columns` are the manifest's."""
    return {
        "schema": _schema(columns_of(columns)),
        "images": _images(),
        "identities": _identities(),
        "totals": _totals(params),
        "pixels": _pixels(),
    }


def _between(column: str, description: str, **bounds: Any) -> Any:
    return gxe.ExpectColumnValuesToBeBetween(column=column, description=description, **bounds)


def _filled(column: str) -> Any:
    return gxe.ExpectColumnValuesToNotBeNull(
        column=column,
        description=f"{column} is never empty",
    )


def _within(column: str, description: str, *values: str) -> Any:
    return gxe.ExpectColumnValuesToBeInSet(
        column=column,
        description=description,
        value_set=list(values),
    )


def _match(column: str, description: str, regex: str) -> Any:
    return gxe.ExpectColumnValuesToMatchRegex(
        column=column,
        description=description,
        regex=regex,
    )


def _unique(column: str, description: str) -> Any:
    return gxe.ExpectColumnValuesToBeUnique(column=column, description=description)


def _above(column: str, other: str, description: str, **options: Any) -> Any:
    return gxe.ExpectColumnPairValuesAToBeGreaterThanB(
        column_A=column,
        column_B=other,
        description=description,
        **options,
    )


def _schema(columns: dict[str, ManifestColumn]) -> Suite:
    order = gxe.ExpectTableColumnsToMatchOrderedList(
        column_list=list(columns),
        description="the columns are those of refsr.dataset.schema, in order",
    )
    types = [
        gxe.ExpectColumnValuesToBeOfType(
            column=key,
            type_=column.dtype,
            description=f"{key} is {column.dtype}",
        )
        for key, column in columns.items()
    ]
    return [order, *types]


def _images() -> Suite:
    return [*map(_filled, _REQUIRED), *_values(), *_boxes(), *_features(), *_shards()]


def _values() -> Suite:
    return [
        _match("identity", "identities are names of folders", r"^[^/]+$"),
        _match("sha256", "sha256 is 64 hexadecimal digits", r"^[0-9a-f]{64}$"),
        _within("split", f"a split is {', '.join(SPLITS)}", *SPLITS),
        _within("role", "a role is reference or image", "reference", "image"),
        _within("sex", "sex is m, f or ?", "m", "f", "?"),
        _unique("source", "a source file is used once"),
        _unique("sha256", "no two source files are the same"),
    ]


def _boxes() -> Suite:
    return [
        _between("x", "boxes begin inside the image", min_value=0),
        _between("y", "boxes begin inside the image", min_value=0),
        _between("w", "boxes have a width", min_value=1),
        _between("h", "boxes have a height", min_value=1),
        _above("width", "right", "boxes end inside the image", or_equal=True),
        _above("height", "bottom", "boxes end inside the image", or_equal=True),
    ]


def _features() -> Suite:
    yaw = "yaw is an angle from -90 to 90 degrees"
    distance = "distances of unit embeddings are from 0 to 2"
    return [
        _between("yaw", yaw, min_value=-90, max_value=90),
        _between("sharpness", "sharpness is above 0", min_value=0, strict_min=True),
        _between("identity_distance", distance, min_value=0, max_value=2),
    ]


def _shards() -> Suite:
    return [
        _between("shard", "shards are numbered from 0", min_value=0),
        _between("index", "places in a shard are numbered from 0", min_value=0),
        _above("shard_rows", "index", "each image has its place in a sound shard"),
        gxe.ExpectCompoundColumnsToBeUnique(
            column_list=["shard", "index"],
            description="no two images share a place in a shard",
        ),
        _within("copy_in_other_split", "no near-duplicate across the splits", ""),
    ]


def _identities() -> Suite:
    one = {"min_value": 1, "max_value": 1}
    return [
        _between("splits", "an identity is in one split only", **one),
        _between("references", "an identity has exactly one reference", **one),
        _between("images", "an identity has an image beside its reference", min_value=1),
        *(
            _between(
                "references",
                f"each {split} identity has a reference",
                min_value=1,
                row_condition=Column("split") == split,
            )
            for split in HELD_OUT
        ),
    ]


def _totals(params: Validate) -> Suite:
    keys = [f"{split}_identities" for split in SPLITS]
    least = {key: getattr(params, f"min_{key}") for key in keys}
    expect = [(key, count, f"at least {count} {key}") for key, count in least.items()]
    return [_between(key, meaning, min_value=count) for key, count, meaning in expect]


def _pixels() -> Suite:
    same = "pixels hash to what the manifest says"
    return [
        _between("contrast", "images are not of one colour", min_value=1),
        _between("sharpness", "images hold detail", min_value=0, strict_min=True),
        _between("hash_bits", same, min_value=0, max_value=0),
    ]
