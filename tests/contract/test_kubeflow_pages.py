"""Each command of the pages on Kubeflow and the cluster is run, or docs/verified.md lists it."""

import argparse
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from compiled import ROOT
from kubeflow_api import Api, refusal, run_of

from pipelines import backup, local, users
from pipelines.cli import main
from pipelines.limits import require_remote
from pipelines.submit import main as old_main
from refsr import doctor_servers
from refsr.__main__ import _parser
from refsr.params import load_section
from refsr.strict_yaml import load_documents

pytestmark = pytest.mark.usefixtures("clean_environment")
PAGES = ("kubeflow.md", "cluster.md", "sweeps.md")
IMAGE = "registry.example/refsr"
LISTED = (ROOT / "docs/verified.md").read_text()
# What these do, tests of their own check: Makefile, commands, kfp.local, users.
ELSEWHERE = ("make ", "python -m refsr ", "python -m pipelines.local ", "export ", "dvc ")
ELSEWHERE += ("python -m pipelines.users ",)
PARSERS = {
    "refsr": lambda words: _parser(words).parse_args(words),
    "pipelines.local": lambda words: _until_parsed(local, "run_command", words),
    "pipelines.users": lambda words: _until_parsed(users, "run_command", words),
}


def _commands(page: str) -> list[str]:
    """The lines of its blocks that are commands, without comments, continued lines joined."""
    text = (ROOT / "docs/how-to" / page).read_text().replace("\\\n", "")
    blocks = re.findall(r"^ *```(\w*)\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    code = [line for language, block in blocks if not language for line in block.splitlines()]
    lines = [re.sub(r"  +#.*", "", line).strip() for line in code]
    return [re.sub(r" +", " ", line) for line in lines if re.match(r"[a-z]+ ", line)]


COMMANDS = [(page, line) for page in PAGES for line in _commands(page)]
OURS = [line for _, line in COMMANDS if line.startswith("python -m pipelines ")]
OTHERS = [
    line
    for _, line in COMMANDS
    if "kubectl" in line or (line not in OURS and not line.startswith(ELSEWHERE))
]


@pytest.mark.parametrize("line", dict.fromkeys(OURS))
def test_a_command_of_the_pages_runs(
    line: str,
    api: Api,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Against the simulated API; a tag stands for the commit, as this checkout may have changes."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("KFP_ENDPOINT", api.endpoint)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr("pipelines.compile.git_revision", lambda: ("0123abc", False))
    monkeypatch.setattr("pipelines.reconcile.ended_pipelines", lambda *_, **__: [])
    api.responses["GET runs/r1"] = [run_of("SUCCEEDED")]
    if " diff " in line:
        store(api, tmp_path)
    line = re.sub(r"(objects|sweep)\.yaml", f"{tmp_path}/o.yaml", line)
    words = shlex.split(line.replace(" RUN", " r1"))
    assert main(words[3:]) == (1 if " diff " in line else 0)


def test_a_command_of_another_test_is_one() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    checked = 0
    for _, line in COMMANDS:
        words = shlex.split(line)
        if words[0] == "make":
            assert words[1] in targets, line
        elif line.startswith(ELSEWHERE) and words[0] == "python":
            assert PARSERS[words[2]](words[3:]), line
            checked += 1
    assert checked > 6


def _until_parsed(module: Any, name: str, words: list[str]) -> argparse.Namespace:
    """The options of a program whose parser is made in its `main`."""
    made: list[argparse.Namespace] = []

    def parse(parser: argparse.ArgumentParser, argv: list[str]) -> int:
        made.append(parser.parse_args(argv))
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, parse)
        module.main(words)
    return made[0]


def store(api: Api, folder: Path) -> None:
    """Let the server have a version that differs."""
    package = folder / "p.yaml"
    command = ["compile", "--params", "params/tiny.yaml", "--image", f"{IMAGE}:old"]
    assert main([*command, "--output", str(package)]) == 0
    pipeline, platform = load_documents(package.read_text())
    spec = {"pipeline_spec": pipeline, "platform_spec": platform}
    api.responses["GET pipelines"] = [{"pipelines": [{"pipeline_id": "p1"}]}]
    versions = [{"display_name": "old", "pipeline_spec": spec}]
    api.responses["GET pipelines/p1/versions"] = [{"pipeline_versions": versions}]


def test_commands_of_a_cluster_are_listed_with_their_last_run() -> None:
    missing = [line for line in OTHERS if f"| `{line.replace('|', chr(92) + '|')}` |" not in LISTED]
    assert not missing, "docs/verified.md, Commands of the pages"


def test_the_pages_have_commands() -> None:
    assert len(OURS) > 10
    assert len(OTHERS) > 10
    assert all(line.startswith(("kubectl ", "kind ", "for ", "export ")) for line in OTHERS)


def test_the_section_of_the_page_is_valid(tmp_path: Path) -> None:
    """The two cluster files of the page are loaded in test_tasks.py."""
    text = (ROOT / "docs/how-to/kubeflow.md").read_text()
    (line,) = re.findall(r"^ *(fetch: \{.*\})$", text, re.MULTILINE)
    (tmp_path / "p.yaml").write_text(line)
    require_remote(tmp_path / "p.yaml", load_section(tmp_path / "p.yaml", "fetch").model_dump())


@pytest.mark.parametrize(
    ("status", "message", "way_out"),
    [
        (401, "Request header error: there is no user identity header", "set KFP_TOKEN"),
        (403, "User 'a@example.com' is not authorized", "pass --namespace"),
        (404, "Run r1 not found", "check the id"),
    ],
)
def test_a_refusal_is_one_line_with_a_way_out(
    status: int, message: str, way_out: str, api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    api.responses["GET runs/r1"] = [refusal(status, message)]
    assert main(["watch", "r1", "--endpoint", api.endpoint]) == 1
    printed = capsys.readouterr().err
    assert f"{status}: {message}; {way_out}" in printed
    assert len(printed.splitlines()) == 1


LOGIN_PAGE = "<html>Log in to Your Account</html>"


@pytest.mark.parametrize(
    ("path", "answer", "expected"),
    [
        ("GET healthz", LOGIN_PAGE, "not the API of Kubeflow Pipelines, or a login page before it"),
        ("GET healthz", (401, LOGIN_PAGE), "401: Unauthorized; set KFP_TOKEN"),
        ("GET healthz", (404, {}), "404: Not Found; check"),
        ("GET healthz", None, "no response (Remote end closed connection"),
        ("GET runs/r1", LOGIN_PAGE, "the answer has no run_id"),
        ("GET runs/r1", None, "no response ("),  # a port-forward that ended
    ],
)
@pytest.mark.parametrize("command", ["watch", "cancel"])
def test_another_server_is_one_line_with_a_way_out(
    command: str,
    path: str,
    answer: Any,
    expected: str,
    api: Api,
    capsys: pytest.CaptureFixture[str],
) -> None:
    api.responses[path] = [answer]
    assert main([command, "r1", "--endpoint", api.endpoint]) == 1
    printed = capsys.readouterr().err
    assert expected in printed
    assert "check" in printed or "KFP_TOKEN" in printed
    assert len(printed.splitlines()) == 1


@pytest.mark.parametrize("token", ["a\nb", "ey J", "\u20ac"])
def test_a_token_that_is_none_is_refused(
    token: str, api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KFP_TOKEN", token)
    assert main(["watch", "r1", "--endpoint", api.endpoint]) == 1
    assert capsys.readouterr().err.startswith("refsr: error: KFP_TOKEN: holds")
    assert doctor_servers.kubeflow(api.endpoint).state == "fail"


@pytest.mark.parametrize("address", ["http://[::1", "http://127.0.0.1:port", "http://", "faces"])
def test_an_address_that_is_none_is_a_message(
    address: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of commands and of `doctor`, as of `submit` (test_submit.py)."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert users.main(["add", "alice"]) == 1
    assert backup.main(["put", str(tmp_path), address.replace("http", "s3")]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert doctor_servers.kubeflow(address).state == "fail"
    assert doctor_servers.s3(address.replace("http", "s3")).state == "fail"


def test_the_older_command_prints_the_same_help(capsys: pytest.CaptureFixture[str]) -> None:
    for run, words in ((old_main, []), (main, ["submit"])):
        with pytest.raises(SystemExit):
            run([*words, "--help"])
        text = " ".join(capsys.readouterr().out.split())
        assert "cluster file, YAML that you write" in text
        assert "k8s/overlays/local/cluster.yaml" in text
