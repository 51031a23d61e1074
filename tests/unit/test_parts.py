"""Curation in parts and after a kill: the bytes are those of one run;
parts that do not belong together are refused.
"""

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_trees import embed_colour, make_raw, person, put

from refsr import steps
from refsr.__main__ import main
from refsr.config import Curate
from refsr.curation import feature_store
from refsr.curation.curated_writer import write_curated, write_part
from refsr.curation.preview import preview
from refsr.dataset.schema import SPLITS
from refsr.errors import RefsrError
from refsr.share import Share, parse_share
from refsr.side_config import KNOWN

PARAMS = Curate(
    hr_size=32,
    min_sharpness=0.2,
    shard_images=16,
    train_identities=5,
    validation_identities=2,
    test_identities=2,
)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set some of whose images are left out, and with identities nobody needs."""
    raw = make_raw(tmp_path_factory.mktemp("parts") / "raw", train=9, test=4, views=3)
    for number in (2, 3):
        put(raw, "train", number, "0001_01", b"no JPEG")
    (raw / "identity_meta.csv").write_text(
        'Class_ID, Name, Sample_Num, Flag, Gender\nn000001, "A",3,1, f\n'
    )
    with tarfile.open(raw.parent / "raw.tar.gz", "w:gz") as archive:
        archive.add(raw, ".")
        link = tarfile.TarInfo(f"train/{person(1)}/link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return raw


@pytest.fixture(scope="module", params=["raw", "raw.tar.gz"])
def source(request: pytest.FixtureRequest, raw: Path) -> Path:
    return raw.parent / str(request.param)


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole") / "curated"
    write_curated(PARAMS, source, folder, embed_colour, 1)
    return bytes_of(folder)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def make_parts(source: Path, folder: Path, total: int) -> list[Path]:
    made = [folder / f"part-{number}" for number in range(1, total + 1)]
    for number, part in enumerate(made, 1):
        write_part(PARAMS, source, part, embed_colour, 1, Share(number, total))
    return made


@pytest.mark.parametrize("total", [1, 3])
def test_merged_parts_are_the_whole_to_the_byte(
    source: Path, whole: dict[str, bytes], total: int, tmp_path: Path
) -> None:
    parts = make_parts(source, tmp_path, total)
    table = pd.read_parquet(io.BytesIO(whole["manifest.parquet"]))
    people = table.groupby("split", sort=False)["identity"].unique()
    assert [len(people[split]) for split in SPLITS] == [5, 2, 2] and [*people.index] == [*SPLITS]
    assert len(set().union(*people)) == 9  # nobody is in two
    metrics = write_curated(PARAMS, source, tmp_path / "merged", embed_colour, 1, parts[::-1])
    assert bytes_of(tmp_path / "merged") == whole
    assert metrics["images_per_second"] == 0  # nothing was measured again


def test_what_no_part_holds_is_measured_by_merge(
    source: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    parts = make_parts(source, tmp_path, 3)
    shutil.rmtree(parts[1])
    write_curated(PARAMS, source, tmp_path / "merged", embed_colour, 1, [parts[2], parts[0]])
    assert bytes_of(tmp_path / "merged") == whole


def test_a_part_keeps_crops_and_of_a_tar_gz_the_metadata_only(raw: Path, tmp_path: Path) -> None:
    parts = make_parts(raw.parent / "raw.tar.gz", tmp_path, 2)
    metadata = sum(path.stat().st_size for path in raw.rglob("*.csv"))
    assert [
        sum(path.stat().st_size for path in part.glob("work/spool/*/*.bin")) for part in parts
    ] == [metadata] * 2
    tables = [pd.read_parquet(part / "work/measured/00000.parquet") for part in parts]
    usable = sum(int((table["reason"] == "").sum()) for table in tables)
    crops = sum(
        path.stat().st_size for part in parts for path in part.glob("work/measured/*.crops")
    )
    assert 0 < usable < sum(map(len, tables))
    assert crops == usable * 3 * PARAMS.hr_size**2


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(
    source: Path, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_store, "FLUSH", 1)
    calls: list[int] = []

    def killed_after(count: int) -> Callable[[np.ndarray], np.ndarray]:
        def embed(chips: np.ndarray) -> np.ndarray:
            if len(calls) == count:
                raise KeyboardInterrupt
            calls.append(len(chips))
            return embed_colour(chips)

        return embed

    with pytest.raises(KeyboardInterrupt):
        write_curated(PARAMS, source, tmp_path / "curated", killed_after(3), 1)
    assert len(calls) == 3
    write_curated(PARAMS, source, tmp_path / "curated", killed_after(99), 1)
    assert len(calls) == 11  # an identity once, whichever run saw it: 6, 2 and 3 of the splits
    assert bytes_of(tmp_path / "curated") == whole


def test_what_was_refused_in_an_archive_is_among_the_rejects(
    whole: dict[str, bytes], source: Path
) -> None:
    summary = json.loads(whole["summary.json"])
    assert summary.get("rejects.no_plain_file", 0) == (source.name == "raw.tar.gz")
    assert summary["rejects.unselected"] > 0


def test_a_part_of_something_else_is_refused_by_name(raw: Path, tmp_path: Path) -> None:
    (one, two), (other, _, _) = (
        make_parts(raw, tmp_path / "2", 2),
        make_parts(raw, tmp_path / "3", 3),
    )

    def merge(params: Curate, source: Path, *parts: Path) -> None:
        write_curated(params, source, tmp_path / "merged", embed_colour, 1, parts)

    with pytest.raises(
        RefsrError, match=r"different divisions: .*part-2 is of 2, .*part-1 is of 3"
    ):
        merge(PARAMS, raw, one, two, other)
    with pytest.raises(
        RefsrError, match=r"part-1: made with other parameters \(curate.min_box was 40\)"
    ):
        merge(PARAMS.model_copy(update={"min_box": 41}), raw, one)
    with pytest.raises(RefsrError, match=r"no part here"):
        merge(PARAMS, raw, raw)
    copy = shutil.copytree(raw, tmp_path / "raw")
    merge(PARAMS, copy, one, two)  # the same set elsewhere
    put(copy, "train", 1, "0001_01", b"shorter")
    with pytest.raises(RefsrError, match=r"part-1: a part of another raw set"):
        merge(PARAMS, copy, one)


def test_a_part_of_another_archive_of_the_same_name_is_refused(raw: Path, tmp_path: Path) -> None:
    (part,) = make_parts(raw.parent / "raw.tar.gz", tmp_path, 1)
    with tarfile.open(tmp_path / "raw.tar.gz", "w:gz") as archive:
        archive.add(raw / "train", "train")
    with pytest.raises(RefsrError, match="of another archive of this name"):
        write_curated(PARAMS, tmp_path / "raw.tar.gz", tmp_path / "merged", embed_colour, 1, [part])


@given(total=st.integers(1, 40), number=st.integers(1, 9999))
def test_each_identity_is_in_one_part(total: int, number: int) -> None:
    assert sum(Share(part, total).holds(person(number)) for part in range(1, total + 1)) == 1


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/", "a/b", "-1/3", "1/3/5", "1.0/3"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(RefsrError, match=r"--shard .*: I/N is expected"):
        parse_share(text)


def test_what_another_version_measured_is_not_joined_and_not_gone_on_with(
    source: Path, tmp_path: Path
) -> None:
    write_part(PARAMS, source, tmp_path / "part", embed_colour, 1, Share(1, 1))
    facts = json.loads((tmp_path / "part" / "part.json").read_text())
    (tmp_path / "part" / "part.json").write_text(json.dumps(facts | {"version": "1"}))
    with pytest.raises(RefsrError, match="part: made by another version of refsr; curate it again"):
        write_curated(PARAMS, source, tmp_path / "merged", embed_colour, 1, [tmp_path / "part"])
    (tmp_path / "part" / "part.json").unlink()
    (tmp_path / "part" / "work" / "version").write_text("1")
    metrics = write_part(PARAMS, source, tmp_path / "part", embed_colour, 1, Share(1, 1))
    assert metrics["images_per_second"] > 0


def test_a_preview_counts_and_reads_no_image(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "refsr.curation.extraction.extract_features", lambda *_: pytest.fail("decoded")
    )
    read_first = preview(PARAMS, str(source))
    assert read_first["identities"] == 13
    assert read_first["images"] == 39
    assert read_first["identities measured first"] == 11
    assert read_first["images measured first"] == 33
    assert str(read_first["metadata"]).startswith("bb_landmark/loose_bb_test.csv, ")


def test_the_command_line_curates_in_parts_and_merges(
    raw: Path,
    tracking_uri: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
    monkeypatch.setattr("refsr.steps.curate.usable_cores", lambda: 1)
    monkeypatch.setattr("refsr.steps.merge.usable_cores", lambda: 1)
    monkeypatch.setattr("refsr.steps.curate.embed_faces", embed_colour)
    monkeypatch.setattr("refsr.steps.merge.embed_faces", embed_colour)
    monkeypatch.setattr("refsr.steps.curate.DETECTOR", None)
    monkeypatch.setattr("refsr.steps.merge.DETECTOR", None)
    (tmp_path / "params.yaml").write_text(
        "curate: {hr_size: 32, min_sharpness: 0.2, train_identities: 5}\n"
    )
    for part in ("1/2", "2/2"):
        assert (
            main(["curate", "--raw", str(raw), "--curated", f"part-{part[0]}", "--shard", part])
            == 0
        )
    assert main(["merge", "--raw", str(raw), "--curated", "merged", "part-2", "part-1"]) == 0
    printed = capsys.readouterr().out
    assert "rejects.not_jpeg" in printed
    assert "merge: -> merged" in printed
    assert main(["curate", "--raw", str(raw), "--curated", "whole"]) == 0
    assert bytes_of(tmp_path / "merged") == bytes_of(tmp_path / "whole")
    assert main(["curate", "--raw", str(raw), "--curated", "whole", "--dry-run"]) == 0
    assert main(["curate", "--raw", str(raw), "--curated", "whole", "--shard", "3/2"]) == 1
    assert main(["merge", "--raw", str(raw), "--curated", "merged", "part-1", "nowhere"]) == 1
    assert "input --parts nowhere: no such file or folder" in capsys.readouterr().err
    assert not list(tmp_path.glob("whole.partial/work"))


def test_merge_is_no_stage_of_the_flow() -> None:
    assert set(steps.SIDE_STEPS) & set(steps.STEPS) == set()
    assert set(steps.SIDE_STEPS.values()) <= set(KNOWN)
