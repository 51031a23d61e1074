"""Render the overlays of k8s/ and refuse what must not reach a cluster: `python -m tools.manifests`."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from refsr.console import exit_status, run_as_process
from refsr.errors import RefsrError

K8S = Path(__file__).parents[1] / "k8s"
KUBERNETES = "1.33"  # the version whose schemas hold
IMAGE = """apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
images:
  - {{name: refsr, newName: {name}, newTag: {tag}}}
"""
Manifest = Mapping[str, Any]


def main() -> int:
    """Check every folder that can be applied; returns the exit status."""
    return exit_status(_check)


def _check() -> None:
    for folder in folders():
        manifests = render(folder)
        faults = problems(manifests)
        if faults:
            raise RefsrError("\n".join(f"{folder}: {problem}" for problem in faults))
        print(f"{folder}: {len(manifests)} manifests, no fault found")


def folders() -> list[str]:
    """What can be applied, relative to k8s/."""
    return [*sorted(f"overlays/{path.name}" for path in (K8S / "overlays").iterdir()), "restore", "restore-s3", "state"]


def write_image(image: str, k8s: Path = K8S) -> None:
    """Make the overlays use `image`: the kustomize component they all name, which git ignores."""
    name, _, tag = image.rpartition(":")
    (k8s / "image").mkdir(exist_ok=True)
    (k8s / "image" / "kustomization.yaml").write_text(IMAGE.format(name=name, tag=json.dumps(tag)))


def render(folder: str, k8s: Path = K8S) -> list[Manifest]:
    """The manifests of a folder, in a copy where the files a user makes stand as their examples do."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise RefsrError("kubectl is not on the PATH; install it: `kubectl kustomize` renders the overlays")
    with tempfile.TemporaryDirectory() as scratch:
        copy = shutil.copytree(k8s, Path(scratch) / "k8s", ignore=shutil.ignore_patterns("image", "secrets.env"))
        write_image("registry.example/refsr-cpu:0123456", copy)
        for example in copy.rglob("*.example"):
            example.rename(example.with_suffix(""))
        environment = os.environ | {"CLOUDSDK_CORE_DISABLE_PROMPTS": "1"}
        command = [kubectl, "kustomize", str(copy / folder)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)  # noqa: S603
    if done.returncode:
        raise RefsrError(f"{folder}: kubectl kustomize: {done.stderr}")
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def problems(manifests: Sequence[Manifest]) -> list[str]:
    """What is wrong with these, each with the manifest at fault."""
    found = []
    for manifest in manifests:
        where = f"{manifest['kind']}/{manifest['metadata']['name']}"
        told = [*_misspelt(manifest), *_literal_secrets(manifest)]
        pod = _pod(manifest)
        if pod is not None:
            told += [problem for each in containers(pod) for problem in _unfit(each, pod.get("securityContext", {}))]
        found += [f"{where}: {problem}" for problem in told]
    return found


def containers(pod: Manifest) -> list[Manifest]:
    """All containers of a pod, those it starts with among them."""
    return [*pod.get("initContainers", []), *pod["containers"]]


def _misspelt(manifest: Manifest) -> Iterator[str]:
    """Fields and values that Kubernetes does not know; kinds it does not know have a schema in k8s/schemas."""
    import jsonschema
    import kubernetes_validate

    schema = K8S / "schemas" / f"{manifest['kind']}.json"
    try:
        if schema.is_file():
            jsonschema.validate(manifest, json.loads(schema.read_text()))
        else:
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
        yield f"{'.'.join(map(str, error.path))}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError:
        yield f"kind unknown; put a schema into {schema.relative_to(K8S.parent)}"


def _literal_secrets(manifest: Manifest) -> Iterator[str]:
    values = {**manifest.get("data", {}), **manifest.get("stringData", {})} if manifest["kind"] == "Secret" else {}
    yield from (f"holds a value for {key}; secrets stand in no file of the repository" for key in values if values[key])
    for container in containers(_pod(manifest) or {"containers": []}):
        for variable in container.get("env", []):
            if variable.get("value") and re.search("(PASSWORD|SECRET|TOKEN|ACCESS_KEY)", variable["name"]):
                yield f"{container['name']}: the value of {variable['name']} stands here; take it from a Secret"


def _unfit(container: Manifest, pod: Manifest) -> Iterator[str]:
    """What a container lacks, `pod` being the security context of its pod."""
    name, image = container["name"], container["image"]
    tag = image.rpartition("/")[2].partition(":")[2]
    if not tag or tag == "latest":
        yield f"{name}: image {image}: no tag that stays"
    for kind in ("cpu", "memory"):
        if kind not in container.get("resources", {}).get("limits", {}):
            yield f"{name}: no limit of {kind}"
    security = {**pod, **container.get("securityContext", {})}
    if security.get("runAsNonRoot") is not True or security.get("runAsUser", 0) == 0:
        yield f"{name}: may run as root"
    if security.get("readOnlyRootFilesystem") is not True:
        yield f"{name}: its root file system can be written"
    if security.get("allowPrivilegeEscalation") is not False or "ALL" not in security.get("capabilities", {}).get(
        "drop", []
    ):
        yield f"{name}: may gain rights"


def _pod(manifest: Manifest) -> Manifest | None:
    """The pod a manifest makes, if it makes one."""
    spec: Manifest = manifest.get("spec", {})
    if manifest["kind"] == "Pod":
        return spec
    pod: Manifest | None = spec.get("jobTemplate", {}).get("spec", spec).get("template", {}).get("spec")
    return pod


if __name__ == "__main__":
    run_as_process(main)
