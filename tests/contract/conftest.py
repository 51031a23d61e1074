"""Fixtures of the compiled pipelines and of a simulated Kubeflow API."""

import functools
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import kubernetes_validate
import pytest
from compiled import GRAPHS, ROOT, Spec, compiled_of
from helpers import run_in
from kubeflow_api import Api
from manifest_queries import Manifests

from tools.manifests import folders, render

TRACKED = ("ls-files", "--cached", "--others", "--exclude-standard", "k8s")


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
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Spec, Spec]:
    """Every graph in turn."""
    return compiled_of(tmp_path_factory.mktemp("graph") / "package.yaml", graph=request.param)


@pytest.fixture
def api() -> Iterator[Api]:
    with Api() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the user's own settings; the tracking URI is that of a server."""
    for variable in (
        "KFP_ENDPOINT",
        "KFP_NAMESPACE",
        "KFP_TOKEN",
        "REFSR_IMAGE",
        "KF_PIPELINES_SA_TOKEN_PATH",
    ):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    monkeypatch.setenv("KUBECONFIG", "/nowhere")


@pytest.fixture(scope="session", autouse=True)
def _schemas_read_once() -> Iterator[None]:
    """kubernetes_validate parses megabytes of definitions for every object."""
    cached = functools.lru_cache(kubernetes_validate.utils.schema_contents)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kubernetes_validate.utils.schema_contents", cached)
        yield


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Manifests]:
    """From a clean checkout: nothing but what git tracks."""
    if shutil.which("kubectl") is None:
        pytest.skip("NOT TESTED, the manifests of k8s/: kubectl is not on the PATH")
    checkout = tmp_path_factory.mktemp("checkout")
    for name in run_in(ROOT, "git", *TRACKED).splitlines():
        if (ROOT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, checkout / name)
    return {folder: render(folder, checkout / "k8s") for folder in folders()}  # type: ignore[misc]
