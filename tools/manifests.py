"""Render the overlays of k8s/ and check them: `python -m tools.manifests`."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from refsr.console import exit_status, run_as_process
from refsr.errors import RefsrError
from refsr.strict_yaml import load_documents

K8S = Path(__file__).parents[1] / "k8s"
KUBERNETES = ("1.34", "1.37")  # versions of the schemas: the oldest and the newest
APPLICABLE = (
    "approval",
    "restore",
    "restore-s3",
    "serve",
    "serve-kserve",
    "serve-prometheus",
    "state",
)
SECRET = re.compile("(PASSWORD|SECRET|TOKEN|ACCESS_KEY)")  # names of variables
IMAGE = """# The image of every overlay. `make images` and `make push` write this file; \
commit it for Argo CD or Flux.
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
images:
  - {{name: refsr, newName: {name}, newTag: {tag}{digest}}}
"""
INFERENCE = "InferenceService"  # of KServe
HOST = ("hostNetwork", "hostPID", "hostIPC")
VOLUMES = {  # that Pod Security `restricted` allows
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim"),
    *("projected", "secret"),
}
Manifest = Mapping[str, Any]


def main() -> int:
    """Check every folder that can be applied; returns the exit status."""
    return exit_status(_check)


def _check() -> None:
    for folder in folders():
        manifests = render(folder)
        faults = problems(manifests)
        if faults:
            raise RefsrError("\n".join(f"{folder}: {fault}" for fault in faults))
        print(f"{folder}: {len(manifests)} manifests, no problem")
    objects = generated()
    if faults := problems(objects):
        raise RefsrError("\n".join(f"generated: {fault}" for fault in faults))
    print(f"generated: {', '.join(each['kind'] for each in objects)}, no problem")


def generated() -> list[Manifest]:
    """The objects that this project makes itself: of a GitOps repository, and of a training."""
    from components.trainjob.spec import trainjob
    from pipelines.cluster import State, load_cluster
    from pipelines.compile import compile_package
    from pipelines.graphs.training import training
    from pipelines.task_settings import node_settings

    image = "registry.example/refsr:1"
    cluster = load_cluster(K8S / "overlays/gpu/cluster.yaml")
    cluster = cluster.model_copy(update={"state": State(claim="data")})
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "objects.yaml"
        made = training(image, cluster, "rendered")
        compile_package(package, made, version="1", namespace="refsr")
        objects = list(load_documents(package.read_text(encoding="utf-8")))
    settings = node_settings("train_sisr", cluster.tasks["train_sisr"], cluster, image)
    return [*objects, trainjob(settings) | {"metadata": {"name": "train-sisr"}}]


def folders() -> list[str]:
    """The folders that can be applied, relative to k8s/."""
    overlays = sorted(path.name for path in (K8S / "overlays").iterdir())
    return [*(f"overlays/{name}" for name in overlays), *APPLICABLE]


def write_image(image: str, k8s: Path = K8S) -> None:
    """Set the image of all overlays, NAME:TAG or NAME:TAG@DIGEST, in the component `image`."""
    reference, _, digest = image.partition("@")
    name, _, tag = reference.rpartition(":")
    kept = f", digest: {json.dumps(digest)}" if digest else ""
    text = IMAGE.format(name=name, tag=json.dumps(tag), digest=kept)
    (k8s / "image").mkdir(exist_ok=True)
    (k8s / "image" / "kustomization.yaml").write_text(text)


def render(folder: str, k8s: Path = K8S) -> list[Manifest]:
    """The manifests of a folder, as `kubectl apply -k` reads them."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise RefsrError(
            "kubectl is not on the PATH; install it: `kubectl kustomize` renders the overlays"
        )
    done = subprocess.run(  # noqa: S603
        [kubectl, "kustomize", str(k8s / folder)],
        capture_output=True,
        text=True,
        env=os.environ | {"CLOUDSDK_CORE_DISABLE_PROMPTS": "1"},
    )
    if done.returncode:
        raise RefsrError(f"{folder}: kubectl kustomize: {done.stderr}")
    return [document for document in load_documents(done.stdout) if document]


def problems(manifests: Sequence[Manifest]) -> list[str]:
    """All problems, each with the manifest at fault."""
    return [
        f"{manifest['kind']}/{manifest['metadata']['name']}: {problem}"
        for manifest in manifests
        for problem in _problems(manifest)
    ]


def _problems(manifest: Manifest) -> Iterator[str]:
    yield from _schema_errors(manifest)
    yield from _literal_secrets(manifest)
    pod = _pod(manifest)
    if pod is not None:
        yield from _pod_problems(pod)
        security = pod.get("securityContext", {})
        for container in containers(pod):
            yield from _container_problems(container, security)


def containers(pod: Manifest) -> list[Manifest]:
    """All containers of a pod, init containers first."""
    return [*pod.get("initContainers", []), *pod["containers"]]


def _schema_errors(manifest: Manifest) -> Iterator[str]:
    """Unknown fields and values; k8s/schemas holds the schemas of other kinds."""
    import jsonschema
    import kubernetes_validate

    schema = K8S / "schemas" / f"{manifest['kind']}.json"
    try:
        if schema.is_file():
            jsonschema.validate(manifest, json.loads(schema.read_text()))
        else:
            for version in KUBERNETES:
                kubernetes_validate.validate(manifest, version, strict=True)
    except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
        yield f"{'.'.join(map(str, error.path))}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError:
        yield f"unknown kind; add its schema: {schema.relative_to(K8S.parent)}"


def _literal_secrets(manifest: Manifest) -> Iterator[str]:
    if manifest["kind"] == "Secret":
        values = {**manifest.get("data", {}), **manifest.get("stringData", {})}
        for key, value in values.items():
            if value:
                yield f"holds a value for {key}; no file of the repository may hold a secret"
    for container in containers(_pod(manifest) or {"containers": []}):
        for variable in container.get("env", []):
            name = variable["name"]
            if variable.get("value") and SECRET.search(name):
                yield f"{container['name']}: holds the value of {name}; take it from a Secret"


def _pod_problems(pod: Manifest) -> Iterator[str]:
    """What Pod Security `restricted` refuses beside the settings of containers."""
    for key in HOST:
        if pod.get(key):
            yield f"{key}: shares the node's"
    for volume in pod.get("volumes", []):
        if kinds := set(volume) - VOLUMES - {"name"}:
            yield f"volume {volume['name']}: {', '.join(sorted(kinds))} is not restricted"
    for container in containers(pod):
        for port in container.get("ports", []):
            if "hostPort" in port:
                yield f"{container['name']}: has a port of the node, {port['hostPort']}"


def _container_problems(container: Manifest, pod: Manifest) -> Iterator[str]:
    """Problems of a container; `pod` is the security context of its pod."""
    name, image = container["name"], container["image"]
    tag = image.rpartition("/")[2].partition(":")[2]
    if not tag or tag == "latest":
        yield f"{name}: image {image}: no immutable tag"
    for kind in ("cpu", "memory"):
        if kind not in container.get("resources", {}).get("limits", {}):
            yield f"{name}: no limit of {kind}"
    security = {**pod, **container.get("securityContext", {})}
    if security.get("runAsNonRoot") is not True or security.get("runAsUser", 0) == 0:
        yield f"{name}: can run as root"
    if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield f"{name}: no seccomp profile"
    if security.get("readOnlyRootFilesystem") is not True:
        yield f"{name}: root file system is writable"
    dropped = security.get("capabilities", {}).get("drop", [])
    gains = security.get("privileged") or security.get("capabilities", {}).get("add")
    if gains or security.get("allowPrivilegeEscalation") is not False or "ALL" not in dropped:
        yield f"{name}: can gain privileges"


def _pod(manifest: Manifest) -> Manifest | None:
    """The spec of the pod that a manifest creates, if it creates one."""
    spec: Manifest = manifest.get("spec", {})
    if manifest["kind"] == "Pod":
        return spec
    if manifest["kind"] == INFERENCE:
        predictor: Manifest = spec["predictor"]
        return predictor
    job = spec.get("jobTemplate", {}).get("spec", spec)
    pod: Manifest | None = job.get("template", {}).get("spec")
    return pod


if __name__ == "__main__":
    run_as_process(main)
