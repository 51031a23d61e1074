"""Cluster files: what Kubernetes would refuse is refused by file and key."""

from pathlib import Path

import pytest

from pipelines.cluster import load_cluster
from refsr.errors import RefsrError

MOUNTS = ("/", "/tmp/x", "/dev/shm", "/gcs", "/a/../b", '"/a:b"', "state")  # noqa: S108


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("secrets: [{name: s, env: {a: B}, tasks: [train]}]", "secrets: s: tasks: unknown task"),
        ("tasks: {train: {gpus: 1}}", "tasks.train: unknown task"),
        ("tasks: {train_sisr: 1}", "tasks.train_sisr: must be a mapping, not 1"),
        ("tasks: {train_sisr: {memory: lots}}", "tasks.train_sisr.memory"),
        ("tasks: {train_sisr: {gpu: 1}}", "tasks.train_sisr.gpu"),
        ("gpus: {}", "gpus"),
        ("curate_shards: 0", "curate_shards"),
        ("run_as: {user: 0}", "run_as.user"),
        ("state: {claim: My_data}", "state.claim"),
        *[(f"state: {{claim: a, path: {path}}}", "state.path") for path in MOUNTS],
        ('tasks: {curate: {cpu: "0"}}', "tasks.curate.cpu: more than 0"),
        ("tasks: {curate: {memory: 0Gi}}", "tasks.curate.memory: more than 0"),
        ("tasks: {curate: {memory: 16G}}", "tasks.curate.memory: a size as 512Mi"),
        ("tasks: {curate: {gpus: true}}", "tasks.curate.gpus"),
        ("tasks: {curate: {retries: 1000}}", "tasks.curate.retries"),
        ("tasks: {curate: {timeout_minutes: 99999999}}", "tasks.curate.timeout_minutes"),
        ("run_as: {user: 2147483648}", "run_as.user"),
        ("evaluate_shards: 1001", "evaluate_shards"),
        ("gpu: {resource: gpu}", "gpu.resource: an extended resource"),
        ("gpu: {tolerations: [{key: a, value: b}]}", "gpu.tolerations.0: a value only with"),
        ("gpu: {tolerations: [{key: a b}]}", "gpu.tolerations.0.key"),
        ("everywhere: {node_selector: {a b: c}}", "everywhere.node_selector.a b"),
        ("everywhere: {node_selector: {a: b c}}", "everywhere.node_selector.a: at most 63"),
        ("secrets: [{name: s, env: {}}]", "secrets.0.env"),
        ("secrets: [{name: s, env: {a/b: C}}]", "secrets.0.env.a/b"),
        ("secrets: [{name: s, env: {a: B, c: B}}]", "secrets: B is set twice, by s; remove one"),
        ("secrets: [{name: s, env: {a: B}}, {name: t, env: {c: B}}]", "set twice, by s, t"),
        ("secrets: [{name: S3, env: {a: B}}]", "secrets.0.name"),
        ("secrets: [{name: s3, env: {a: B-C}}]", "secrets.0.env.a"),
        ("target: {ui: kubeflow.example}", "target.ui"),
        ('target: {ui: "http://[::1"}', "target.ui"),
        ("secrets: [{name: mlflow, value: hunter2}]", "secrets.0"),
        ("tasks: 1", "tasks: must be a mapping"),
        ("[1]", "must be a mapping"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_bad_cluster_file_is_refused_by_name(
    document: str,
    expected: str,
    tmp_path: Path,
) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(document + "\n")
    with pytest.raises(RefsrError) as caught:
        load_cluster(path)
    assert str(caught.value).startswith(str(path))
    assert expected in str(caught.value)


def test_a_cluster_file_takes_what_kubernetes_does(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text("""
everywhere: {node_selector: {example.com/pool: ""}}
gpu: {resource: amd.com/gpu, tolerations: [{key: a, operator: Equal, value: b}]}
state: {claim: my.claim, path: /mnt/state}
secrets: [{name: my.secret, env: {tls.crt: CERT}}, {name: s, env: {a: CERT}, tasks: [curate]}]
tasks: {curate: {cpu: 4}, validate: {cpu: 0.5}}
""")
    cluster = load_cluster(path)
    assert [cluster.tasks[name].cpu for name in ("curate", "validate")] == ["4", "0.5"]
    assert cluster.secrets_of("curate") == {"CERT": ("s", "a")}
    assert cluster.secrets_of("validate") == {"CERT": ("my.secret", "tls.crt")}
