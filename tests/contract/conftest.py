"""Fixtures of the compiled pipelines."""

from pathlib import Path

import pytest
from compiled import GRAPHS, Spec, compiled_of


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("package") / "training.yaml"


@pytest.fixture(scope="session")
def compiled(package: Path) -> tuple[Spec, Spec]:
    return compiled_of(package)


@pytest.fixture(scope="session")
def pipeline(compiled: tuple[Spec, Spec]) -> Spec:
    return compiled[0]


@pytest.fixture(scope="session", params=GRAPHS)
def graph(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Spec, Spec]:
    """Every graph in turn."""
    return compiled_of(tmp_path_factory.mktemp("graph") / "package.yaml", graph=request.param)
