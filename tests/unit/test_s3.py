"""Raw sets on a real S3 server: the same bytes as from a folder, whatever the network does;
clear refusals.
"""

import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from faulty_proxy import FaultyProxy
from raw_trees import embed_colour, make_raw

import refsr
from refsr import loading
from refsr.config import Curate
from refsr.curation.curated_writer import write_curated
from refsr.errors import RefsrError
from refsr.io import s3, sources
from refsr.io.files import Extent, read_all
from refsr.models.checkpoint import save_model
from refsr.models.compact import CompactSisr
from tools.local_services import S3, free_port, s3_server

PARAMS = Curate(hr_size=32, min_sharpness=0.2)
BUCKET = "raw"
KINDS = ("folder", "raw.tar", "raw.tar.gz", "mirror")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_raw(tmp_path_factory.mktemp("s3") / "raw", train=3, test=2, views=3)


@pytest.fixture(scope="module")
def store(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3_server(tmp_path_factory.mktemp("weed"), BUCKET) as store:
        client = store.client()
        for path in raw.rglob("*"):
            if path.is_file():
                client.upload_file(str(path), BUCKET, f"folder/{path.relative_to(raw)}")
        for name, mode in (
            ("raw.tar", "w"),
            ("raw.tar.gz", "w:gz"),
            ("mirror/vggface2.tgz", "w:gz"),
        ):
            packed = raw.parent / Path(name).name
            with tarfile.open(packed, mode) as archive:
                archive.add(raw, "." if "mirror" not in name else "faces")
            client.upload_file(str(packed), BUCKET, name)
        yield store


@pytest.fixture
def port(store: S3) -> int:
    return urlsplit(store.endpoint).port or 0


@pytest.fixture(autouse=True)
def keys(store: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for key, value in (store.environment | {"AWS_CONFIG_FILE": "none"}).items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(s3, "_FIRST_PAUSE", 0.01)
    monkeypatch.setenv(s3.ANSWERED, "")  # so that it is removed when the test has ended
    monkeypatch.delenv(s3.ANSWERED)
    s3._client.cache_clear()
    yield
    s3._client.cache_clear()


@pytest.fixture
def server(store: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", store.endpoint)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("server")
def test_the_result_is_that_of_the_folder(kind: str, raw: Path, tmp_path: Path) -> None:
    write_curated(PARAMS, raw, tmp_path / "local", embed_colour, 1)
    write_curated(PARAMS, f"s3://{BUCKET}/{kind}", tmp_path / "remote", embed_colour, 1)
    local, remote = bytes_of(tmp_path / "local"), bytes_of(tmp_path / "remote")
    if kind == "mirror":  # its images have longer names
        assert local["hr-00000.npy"] == remote["hr-00000.npy"]
    else:
        assert local == remote


@pytest.mark.parametrize("kind", KINDS)
def test_stalls_errors_and_broken_connections_are_survived(
    kind: str, raw: Path, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "TIMEOUT", 0.3)
    proxy = FaultyProxy(port, ("500", "stall", "break"), every=2)
    with proxy.serving() as faulty:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{faulty}")
        write_curated(PARAMS, f"s3://{BUCKET}/{kind}", tmp_path / "remote", embed_colour, 1)
    write_curated(PARAMS, raw, tmp_path / "local", embed_colour, 1)
    assert set(proxy.met) == {"500", "stall", "break"}
    assert (
        bytes_of(tmp_path / "remote")["hr-00000.npy"]
        == bytes_of(tmp_path / "local")["hr-00000.npy"]
    )


@pytest.mark.parametrize("fault", ["500", "stall"])
def test_a_server_that_never_recovers_is_one_message(
    port: int, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "TIMEOUT", 0.1)
    proxy = FaultyProxy(port, (fault,), every=1)
    with proxy.serving() as faulty:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{faulty}")
        with pytest.raises(RefsrError, match=rf"s3://{BUCKET}/raw.tar: .*(500|{faulty})"):
            sources.check(f"s3://{BUCKET}/raw.tar")
    assert len(proxy.met) == s3.ATTEMPTS


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("uri", "expected_text"),
    [
        ("s3://nowhere/raw.tar", "nowhere/raw.tar: there is no such (bucket|object)"),
        ("s3://nowhere/folder", "no such bucket; .*AWS_ENDPOINT_URL"),
        (f"s3://{BUCKET}/other.tar.gz", "other.tar.gz: there is no such object"),
        (f"s3://{BUCKET}/empty", "nothing under this prefix"),
        ("s3:///raw.tar", "no bucket"),
    ],
)
def test_what_is_not_there_is_named(uri: str, expected_text: str) -> None:
    with pytest.raises(RefsrError, match=expected_text):
        sources.check(uri)


@pytest.mark.usefixtures("server")
def test_wrong_keys_name_the_variables_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "other")
    with pytest.raises(RefsrError, match=r"denies access; set AWS_ACCESS_KEY_ID"):
        sources.check(f"s3://{BUCKET}/raw.tar")


def test_a_missing_server_names_the_variable_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(RefsrError, match=r"Could not connect .*AWS_ENDPOINT_URL"):
        sources.check(f"s3://{BUCKET}/raw.tar")


@pytest.mark.usefixtures("server")
def test_neighbours_are_asked_for_at_once_and_come_in_the_order_asked(raw: Path) -> None:
    place, whole = f"s3://{BUCKET}/raw.tar", (raw.parent / "raw.tar").read_bytes()
    extents = [Extent(place, start, 700) for start in (5000, 0, 600, 5000)]
    assert read_all(extents) == [whole[e.start : e.start + e.length] for e in extents]


@pytest.mark.usefixtures("server")
def test_the_fingerprint_changes_with_an_object(store: S3) -> None:
    client = store.client()
    client.put_object(Bucket=BUCKET, Key="changing/n000001/1.jpg", Body=b"one")
    before = sources.fingerprint(f"s3://{BUCKET}/changing")
    assert sources.fingerprint(f"s3://{BUCKET}/changing") == before
    client.put_object(Bucket=BUCKET, Key="changing/n000001/1.jpg", Body=b"two")
    assert sources.fingerprint(f"s3://{BUCKET}/changing") != before


@pytest.mark.parametrize("returns", [True, False])
def test_refused_connections_in_mid_run_are_waited_for(
    returns: bool, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listens for more than ATTEMPTS; the server then listens on the same port again,
    or never.
    """
    proxy = FaultyProxy(port, (), every=10**9)
    with proxy.serving() as open_port:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{open_port}")
        size = s3.head(f"s3://{BUCKET}/raw.tar").size
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2 * s3.ATTEMPTS:
            paused.set()
            reopened.wait(60)

    monkeypatch.setattr(s3.time, "sleep", pause)
    paused, reopened = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(s3.head, f"s3://{BUCKET}/raw.tar")
        assert paused.wait(60)
        if returns:
            with FaultyProxy(port, (), every=10**9, at=open_port).serving():
                reopened.set()
                assert waiting.result(timeout=60).size == size
        else:
            monkeypatch.setattr(s3, "PATIENCE", 0.0)
            reopened.set()
            with pytest.raises(RefsrError, match=r"Could not connect .*AWS_ENDPOINT_URL"):
                waiting.result(timeout=60)


def test_the_first_connection_refused_ends_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3.time, "sleep", lambda seconds: pytest.fail("waited"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(RefsrError, match=r"Could not connect .*AWS_ENDPOINT_URL"):
        s3.head(f"s3://{BUCKET}/raw.tar")


def test_a_model_is_loaded_from_s3(
    store: S3, server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file, and its folder; what is none is one message."""
    save_model(tmp_path / "model.safetensors", CompactSisr(hr_size=32, scale=4, width=16, blocks=1))
    client = store.client()
    client.upload_file(str(tmp_path / "model.safetensors"), BUCKET, "models/model.safetensors")
    monkeypatch.setattr(loading, "_PIECE", 1000)  # so that the last piece is shorter
    photo = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    expected = refsr.load(tmp_path).upscale(photo)
    for name in ("models", "models/", "models/model.safetensors"):
        assert np.array_equal(refsr.load(f"s3://{BUCKET}/{name}").upscale(photo), expected)
    client.put_object(Bucket=BUCKET, Key="models/damaged.onnx", Body=b"no graph")
    for name, message in (
        ("other.safetensors", "no such"),
        ("raw.tar/", "model.safetensors: "),
        ("models/damaged.onnx", "damaged.onnx: cannot be run; export it again"),
    ):
        with pytest.raises(RefsrError, match=message):
            refsr.load(f"s3://{BUCKET}/{name}")
