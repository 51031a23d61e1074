"""The commands of docs/how-to/vggface2.md, as they stand there,
on a real S3 server and rendered faces.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from helpers import run_in

from refsr.config import Synthesize
from refsr.steps.synthesize import synthesize
from refsr.tracker import NullTracker
from tools.local_services import S3, s3_server

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/how-to/vggface2.md"
SMALL = {"hr_size": 32, "train_identities": 5, "test_identities": 3}


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[S3]:
    """A server with the bucket `faces`, in it a set laid out as VGGFace2's mirrors do."""
    params = Synthesize(
        train_identities=5, test_identities=3, views=4, min_size=96, max_size=128, defects=0
    )
    raw = tmp_path / "raw"
    synthesize(params, NullTracker(), raw=raw)
    with s3_server(tmp_path / "weed", "faces") as server:
        client = server.client()
        for split in ("train", "test"):
            packed = tmp_path / f"vggface2_{split}.tar.gz"
            with tarfile.open(packed, "w:gz") as archive:
                archive.add(raw / split, split)
            client.upload_file(str(packed), "faces", f"vggface2/{packed.name}")
        for path in (*raw.glob("bb_landmark/*.csv"), raw / "identity_meta.csv"):
            client.upload_file(str(path), "faces", f"vggface2/{path.relative_to(raw)}")
        yield server


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What git would hand out, its profile for VGGFace2 made small."""
    folder = tmp_path / "checkout"
    for name in run_in(ROOT, "git", "ls-files").splitlines():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    profile = folder / "params/vggface2.yaml"
    document = yaml.safe_load(profile.read_text())
    document["curate"] |= SMALL
    profile.write_text(yaml.safe_dump(document))
    run_in(folder, "git", "init", "--quiet")
    return folder


def test_the_commands_of_the_page_do_what_it_says(s3: S3, checkout: Path) -> None:
    commands = "".join(re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = (
        os.environ
        | s3.environment
        | {"AWS_ENDPOINT_URL": s3.endpoint, "PATH": path, "PYTHONPATH": str(checkout)}
    )
    done = subprocess.run(
        ["bash", "-ex"],
        input=commands,
        cwd=checkout,
        env=environment,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert re.search(
        r"^archives +vggface2_test.tar.gz, vggface2_train.tar.gz$", done.stdout, re.MULTILINE
    )
    assert (checkout / "reports/inspect.html").stat().st_size > 10_000
    lock = yaml.safe_load((checkout / "dvc.lock").read_text())
    assert list(lock["stages"]) == ["curate"]
    assert not list(checkout.glob("data/*.partial"))
