"""Great Expectations, and nothing else, is named here: what must hold for a curated set, and how it is checked."""

import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from refsr.config import Validate
from refsr.dataset.schema import Column as ManifestColumn
from refsr.dataset.schema import columns_of

os.environ.setdefault("GX_ANALYTICS_ENABLED", "False")  # read when the library is imported
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it imports sre_constants
    import great_expectations as gx
    import great_expectations.expectations as gxe
    from great_expectations.expectations.row_conditions import Column

_SITE = "data_docs"
Suite = list[Any]  # of expectations


class Outcome(NamedTuple):
    """One expectation held against one table."""

    table: str
    expectation: str  # its name and column(s)
    meaning: str
    success: bool
    unexpected: int  # rows in breach; 1 where the table as a whole is
    rows: list[int]  # their positions, as far as the expectation is about rows
    observed: str  # what was found, where the expectation is about the table


def check(frames: dict[str, pd.DataFrame], suites: dict[str, Suite], docs: Path) -> list[Outcome]:
    """Hold each table against the suite of its name, and write Data Docs (HTML) into `docs`, which is made."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs.resolve())}
    index = {"class_name": "DefaultSiteIndexBuilder"}
    context.add_data_docs_site(
        _SITE, {"class_name": "SiteBuilder", "store_backend": store, "site_index_builder": index}
    )
    source = context.data_sources.add_pandas("curated")
    outcomes = [
        outcome for name, frame in frames.items() for outcome in _check(context, source, name, frame, suites[name])
    ]
    context.build_data_docs(site_names=[_SITE])
    return outcomes


def _check(context: Any, source: Any, name: str, frame: pd.DataFrame, suite: Suite) -> list[Outcome]:
    batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
    expectations = context.suites.add(gx.ExpectationSuite(name=name, expectations=suite))
    definition = context.validation_definitions.add(gx.ValidationDefinition(name=name, data=batch, suite=expectations))
    run = definition.run(batch_parameters={"dataframe": frame}, result_format={"result_format": "COMPLETE"})
    return [_outcome(name, result) for result in run.results]


def _outcome(table: str, result: Any) -> Outcome:
    config = result.expectation_config
    fault = result.exception_info.get("exception_message") or ""
    rows = [int(row) for row in result.result.get("unexpected_index_list") or []]
    columns = [config.kwargs[key] for key in ("column", "column_A", "column_B") if key in config.kwargs]
    columns += config.kwargs["column_list"] if "compound" in config.type else []
    observed = result.result.get("details") or result.result.get("observed_value")
    return Outcome(
        table=table,
        expectation=f"{config.type}({', '.join(columns)})",
        meaning=config.description or "",
        success=bool(result.success),
        unexpected=0 if result.success else int(result.result.get("unexpected_count") or 1),
        rows=rows,
        observed=fault or ("" if observed is None else str(observed)),
    )


def suites(params: Validate, columns: Iterable[str] = ()) -> dict[str, Suite]:
    """The expectations by table, those of refsr.curation.checks; `columns` are those that the manifest has."""
    return {
        "schema": _schema(columns_of(columns)),
        "images": _images(),
        "identities": _identities(),
        "totals": _totals(params),
        "pixels": _pixels(),
    }


def _schema(columns: dict[str, ManifestColumn]) -> Suite:
    whole = gxe.ExpectTableColumnsToMatchOrderedList(
        column_list=list(columns), description="the columns are those of refsr.dataset.schema, in order"
    )
    types = [
        gxe.ExpectColumnValuesToBeOfType(column=key, type_=column.dtype, description=f"{key} is {column.dtype}")
        for key, column in columns.items()
    ]
    return [whole, *types]


def _images() -> Suite:
    between, unique = gxe.ExpectColumnValuesToBeBetween, gxe.ExpectColumnValuesToBeUnique
    above = gxe.ExpectColumnPairValuesAToBeGreaterThanB
    within, match = gxe.ExpectColumnValuesToBeInSet, gxe.ExpectColumnValuesToMatchRegex
    measured = ("identity", "split", "role", "source", "x", "y", "w", "h", "sharpness", "sha256", "identity_distance")
    return [
        *[gxe.ExpectColumnValuesToNotBeNull(column=key, description=f"{key} is always told") for key in measured],
        match(column="identity", regex=r"^[^/]+$", description="identities are names of folders"),
        match(column="sha256", regex=r"^[0-9a-f]{64}$", description="sha256 is 64 hexadecimal digits"),
        within(column="split", value_set=["train", "test"], description="a split is train or test"),
        within(column="role", value_set=["reference", "image"], description="a role is reference or image"),
        within(column="sex", value_set=["m", "f", "?"], description="sex is m, f or ?"),
        unique(column="source", description="a source file is used once"),
        unique(column="sha256", description="no two source files are the same"),
        between(column="x", min_value=0, description="boxes begin inside the image"),
        between(column="y", min_value=0, description="boxes begin inside the image"),
        between(column="w", min_value=1, description="boxes have a width"),
        between(column="h", min_value=1, description="boxes have a height"),
        above(column_A="width", column_B="right", or_equal=True, description="boxes end inside the image"),
        above(column_A="height", column_B="bottom", or_equal=True, description="boxes end inside the image"),
        between(column="yaw", min_value=-90, max_value=90, description="yaw is an angle from -90 to 90 degrees"),
        between(column="sharpness", min_value=0, strict_min=True, description="sharpness is above 0"),
        between(column="identity_distance", min_value=0, max_value=2, description="distances of embeddings are sane"),
        between(column="shard", min_value=0, description="shards are numbered from 0"),
        between(column="index", min_value=0, description="places in a shard are numbered from 0"),
        above(column_A="shard_rows", column_B="index", description="each image has its place in a sound shard"),
        gxe.ExpectCompoundColumnsToBeUnique(
            column_list=["shard", "index"], description="no two images share a place in a shard"
        ),
        within(column="copy_in_other_split", value_set=[""], description="no near-duplicate across the splits"),
    ]


def _identities() -> Suite:
    between = gxe.ExpectColumnValuesToBeBetween
    return [
        between(column="splits", min_value=1, max_value=1, description="an identity is in one split only"),
        between(column="references", min_value=1, max_value=1, description="an identity has exactly one reference"),
        between(column="images", min_value=1, description="an identity has an image beside its reference"),
        between(
            column="references",
            min_value=1,
            row_condition=Column("split") == "test",
            description="each test identity has a reference",
        ),
    ]


def _totals(params: Validate) -> Suite:
    least = {"train_identities": params.min_train_identities, "test_identities": params.min_test_identities}
    return [
        gxe.ExpectColumnValuesToBeBetween(column=key, min_value=count, description=f"at least {count} {key}")
        for key, count in least.items()
    ]


def _pixels() -> Suite:
    between = gxe.ExpectColumnValuesToBeBetween
    return [
        between(column="contrast", min_value=1, description="images are not of one colour"),
        between(column="sharpness", min_value=0, strict_min=True, description="images hold detail"),
        between(column="hash_bits", min_value=0, max_value=0, description="pixels hash to what the manifest says"),
    ]
