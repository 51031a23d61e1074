"""A photo in, a photo out: faces are detected in rendered scenes and pasted back in place."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.video import moving_head
from refsr.__main__ import main
from refsr.curation.alignment import resample
from refsr.errors import RefsrError
from refsr.face_crops import USUAL
from refsr.inference import faces
from refsr.inference.images import description
from refsr.inference.library import Upscaler
from refsr.inference.paste import paste, soft_mask
from refsr.inference.photo import EnlargedPhoto, upscale_photo
from refsr.inference.portraits import Portrait, portraits_of
from refsr.models import build
from refsr.models.checkpoint import add_facts, save_model
from refsr.synthetic.people import view
from refsr.synthetic.render import Frame, model, render

FRAME = Frame(160, 180, 105.0, 80.0, 92.0)
CONFIG = {"model": "refsr", "variant": "compact", "hr_size": 64, "width": 16, "blocks": 1}


def head(seed: int) -> np.ndarray:
    built = model(seed)
    return render(built, view(seed, built.who, frontal=True), FRAME).image


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    """Two people side by side, faces of some 26 pixels."""
    return np.concatenate([resample(head(seed), 40, 45) for seed in (3, 4)], axis=1)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, build(CONFIG))
    return path


@pytest.fixture(scope="module")
def network(checkpoint: Path) -> Upscaler:
    return Upscaler.from_checkpoint(checkpoint)


def test_several_photos_have_a_result_each(network: Upscaler, scene: np.ndarray) -> None:
    grey = np.full((160, 150, 3), 128, np.uint8)
    first, second = network.upscale_photo([scene, scene[:, :40]], head(3), scale=1)
    assert (first.image.shape, len(first.faces)) == (scene.shape, 2)
    assert (second.image.shape, len(second.faces)) == (scene[:, :40].shape, 1)
    with pytest.raises(RefsrError, match=r"^photo 2: .*no face is detected"):
        network.upscale_photo([scene, grey])


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1)])
def test_a_photo_of_one_pixel_is_enlarged(network: Upscaler, shape: tuple[int, int]) -> None:
    photo = np.full((*shape, 3), 90, np.uint8)
    assert upscale_photo(network, photo, crop=True).scale == min(16, 64 / max(shape))
    turned = faces.cut(photo, faces.Square(np.array([[0.0, 1, 3], [-1, 0, 5]]), 8))
    assert (turned == 90).all()


def smooth(height: int, width: int) -> np.ndarray:
    """A picture without detail that a filter could lose."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 9 + k) + np.cos(y / 11 - k) for k in range(3)]
    return (np.stack(waves, axis=2) * 50 + 128).round().astype(np.uint8)


@pytest.mark.parametrize("angle", [0.0, 40.0, -90.0])
@pytest.mark.parametrize("middle", [(40.3, 30.7), (3.0, 2.0), (78.0, 58.0)])
def test_what_is_cut_is_pasted_where_it_was(angle: float, middle: tuple[float, float]) -> None:
    photo = smooth(60, 80)
    turned = np.radians(angle)
    axes = np.array([[np.cos(turned), -np.sin(turned)], [np.sin(turned), np.cos(turned)]])
    points = np.array(USUAL) @ axes * 12 + middle
    square = faces.square_of(points, np.array(USUAL))
    assert square.side == 24
    canvas = resample(photo, 320, 240)
    before = canvas.copy()
    paste(canvas, resample(faces.cut(photo, square), 96, 96), square, 4)
    inside = slice(8, -8), slice(8, -8)  # the reflection at the border is no part of the photo
    assert np.abs(canvas.astype(int) - before)[inside].max() <= 6
    marked = before.copy()
    paste(marked, np.zeros((96, 96, 3), np.uint8), square, 4)
    changed = np.argwhere((marked != before).any(axis=2)).mean(axis=0) / 4
    if middle[0] == 40.3:
        assert np.abs(changed[::-1] - middle).max() < 1


def test_the_mask_holds_the_face_and_ends_at_the_edge() -> None:
    mask = soft_mask(64)
    assert mask[20:44, 20:44].min() == 1
    assert max(mask[0].max(), mask[:, -1].max()) < 0.01


def test_the_photo_keeps_what_it_shows(network: Upscaler, scene: np.ndarray) -> None:
    """The network is untrained, so that its own output has nothing of the face."""
    result = upscale_photo(network, scene, [head(3)], scale=2, all_faces=True)
    assert result.image.shape == (90, 160, 3)
    assert [face.restored for face in result.faces] == [True, True]
    lost = resample(result.image, 80, 45).astype(int) - scene
    assert np.abs(lost).mean() < 2
    plain = resample(scene, 160, 90).astype(int)
    assert np.abs(result.image - plain).max() > 10


@pytest.mark.parametrize("size", [8, 12, 24, 48, 64, 70])
def test_a_crop_reduced_is_the_crop_again(network: Upscaler, size: int) -> None:
    crop = resample(head(3), 90, 90)[10:80, 10:80]
    small = resample(crop, size, size)
    result = upscale_photo(network, small, [crop], crop=True)
    side = max(size, 64)
    assert result.image.shape == (side, side, 3)
    assert np.abs(resample(result.image, size, size).astype(int) - small).mean() < 2
    added = result.faces[0].added
    assert added == 0 if size >= 64 else 0 < added <= 0.9
    assert ("adds nothing" in result.notes[0]) == (size >= 64)


def test_the_face_of_the_references_is_restored(network: Upscaler, scene: np.ndarray) -> None:
    for seed, side in ((3, "left"), (4, "right")):
        result = upscale_photo(network, scene, [head(seed)])
        (chosen,) = [face for face in result.faces if face.restored]
        assert (chosen.box[0] < 40) == (side == "left")
        assert chosen.distance is not None
        assert all(
            chosen.distance <= face.distance for face in result.faces if face.distance is not None
        )


def boxes(result: EnlargedPhoto) -> np.ndarray:
    return np.sort([face.box[0] for face in result.faces])


@pytest.mark.parametrize("kind", ["exif", "grey", "alpha", "border", "rotated"])
def test_faces_are_detected_in_photos_of_every_kind(
    tmp_path: Path, checkpoint: Path, scene: np.ndarray, kind: str, capsys: Any
) -> None:
    path = tmp_path / "photo.png"
    picture, exif = Image.fromarray(scene), Image.Exif()
    if kind == "exif":
        exif[0x0112] = 6  # to be shown turned clockwise
        picture = picture.transpose(Image.Transpose.ROTATE_90)
    elif kind == "grey":
        picture = picture.convert("L")
    elif kind == "alpha":
        picture.putalpha(255)
    elif kind == "border":
        picture = picture.crop((8, 8, 80, 45))
    else:
        picture = Image.fromarray(resample(scene, 160, 90))
        picture = picture.rotate(35, Image.Resampling.BICUBIC, expand=True)
    picture.save(path, exif=exif)
    words = ["upscale", str(path), "-o", str(tmp_path / "out.png"), "--model", str(checkpoint)]
    assert main([*words, "--all-faces", "--json", "--scale", "2"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert len(result["faces"]) == 2
    assert all(face["restored"] for face in result["faces"])
    with Image.open(tmp_path / "out.png") as made:
        upright = picture.size[::-1] if kind == "exif" else picture.size
        assert made.size == (2 * upright[0], 2 * upright[1])
        assert made.mode == "RGB"
    assert "no evidence" in description(tmp_path / "out.png")


def test_what_cannot_be_done_is_one_message(network: Upscaler, scene: np.ndarray) -> None:
    with pytest.raises(RefsrError, match=r"no face is detected; cut the photo closer .*--crop"):
        upscale_photo(network, smooth(200, 200))
    result = upscale_photo(network, scene, [smooth(200, 200)])
    assert "reference 1: no face is detected; it is taken as a crop of one." in result.notes
    for scale in (0.5, 17, float("nan")):
        with pytest.raises(RefsrError, match=r"scale .* from 1 to 16"):
            upscale_photo(network, scene, scale=scale)
    with pytest.raises(RefsrError, match="sharpness"):
        upscale_photo(network, scene, sharpness=1.1)
    with pytest.raises(RefsrError, match=r"choose a scale of .* or less"):
        upscale_photo(network, np.zeros((4000, 4000, 3), np.uint8), scale=16, crop=True)


def test_a_portrait_is_cut_as_in_training(
    tmp_path: Path,
    network: Upscaler,
    checkpoint: Path,
) -> None:
    (portrait,) = portraits_of(network, [head(3)])
    assert isinstance(portrait, Portrait)
    assert portrait.pixels.shape[0] == portrait.pixels.shape[1]
    higher = (np.array(USUAL) - [0, 0.2]).round(4)
    moved = Path(shutil.copy(checkpoint, tmp_path))
    add_facts(moved, {"usual_landmarks": higher.tolist()})
    other = Upscaler.from_checkpoint(moved)
    assert (other.usual_landmarks == higher).all()
    points = faces.detect(head(3))[0].points
    placed = [faces.square_of(points, each.usual_landmarks).turn[1, 2] for each in (network, other)]
    assert placed[0] > placed[1]  # the square reaches lower, so that the face lies higher in it


def test_a_video_is_enlarged_frame_by_frame(
    tmp_path: Path, checkpoint: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    frames = [resample(each, 80, 80) for each in moving_head(3, 4, 0.6)]
    writer = cv2.VideoWriter("clip.avi", cv2.VideoWriter.fourcc(*"MJPG"), 10, (80, 80))
    for frame in [*frames, np.zeros_like(frames[0])]:  # the face is gone at the end
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    Image.fromarray(head(3)).save("ref.png")
    words = ["upscale-video", "clip.avi", "--ref", "ref.png", "--model", str(checkpoint), "-o"]
    assert main([*words, "large.mp4", "--scale", "2"]) == 0
    assert "5 frames, in 5 of them the face" in capsys.readouterr().out
    video = cv2.VideoCapture("large.mp4")
    made = [video.read() for _ in range(6)]
    assert [there for there, _ in made] == [True] * 5 + [False]
    assert made[0][1].shape == (160, 160, 3)
    shown = made[2][1][..., ::-1].astype(int) - resample(frames[2], 160, 160)
    assert np.abs(shown).mean() < 12  # of a lossy codec
    save_model(Path("sisr"), build(CONFIG | {"model": "sisr"}))
    single = [*words[:4], "--model", "sisr", "-o", "single.avi", "--scale", "2"]
    assert main(single) == 0
    assert "--ref changes nothing" in capsys.readouterr().err
    for output, message in (("large.mp4", "exists"), ("large.gif", "to end in one of .mp4")):
        assert main([*words, output]) == 1
        assert message in capsys.readouterr().err
    Path("empty.avi").write_bytes(b"")
    faults = {"empty.avi": "not a video", "none.avi": "no such file", "ref.png": "an image, no"}
    for source, message in faults.items():
        words[1] = source
        assert main([*words, "other.mp4"]) == 1
        assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("*other*"))


def test_a_folder_is_done_and_continued(
    tmp_path: Path,
    checkpoint: Path,
    scene: np.ndarray,
    capsys: Any,
) -> None:
    photos, out, album = tmp_path / "photos", tmp_path / "out", tmp_path / "album"
    photos.mkdir()
    album.mkdir()
    for name in "ab":
        Image.fromarray(scene).save(photos / f"{name}.png")
    (photos / "c.jpg").write_bytes(b"no image")
    Image.fromarray(smooth(200, 200)).save(photos / "d.png")
    for seed in (3, 4):
        Image.fromarray(head(seed)).save(album / f"{seed}.png")
    words = ["upscale", str(photos), "--ref", str(album), "-o", str(out), "--model"]
    words += [str(checkpoint), "--sheets", "--scale", "2"]
    assert main(words) == 0
    names = {"a.png", "b.png", "a.sheet.png", "b.sheet.png", "failed.csv"}
    assert {path.name for path in out.iterdir()} == names
    rows = list(csv.reader((out / "failed.csv").read_text().splitlines()))
    assert [Path(row[0]).name for row in rows[1:]] == ["c.jpg", "d.png"]
    assert "no face is detected" in rows[2][1]
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.png")}
    (out / "b.png").unlink()
    assert main(words) == 0
    after = {path: path.stat().st_mtime_ns for path in out.glob("*.png")}
    assert after.keys() == before.keys()
    assert {path.name for path in after if after[path] != before[path]} == {"b.png", "b.sheet.png"}
    capsys.readouterr()
    (out / "failed.csv").write_text("mine")  # a file of the user's
    assert main(words) == 1
    assert "failed.csv: exists, and refsr did not write it" in capsys.readouterr().err
    (photos / "a.jpg").write_bytes(b"")
    assert main(words) == 1
    assert "has the same name" in capsys.readouterr().err
    one = [*words[:1], str(photos / "a.png"), str(photos / "b.png"), *words[2:5], "x.png"]
    assert main([*one, *words[6:]]) == 1
    assert "name a folder with -o" in capsys.readouterr().err
    alone = ["upscale", str(photos / "b.png"), "--model", str(checkpoint), "--scale", "2", "-o"]
    assert main([*alone, str(tmp_path / "new/deep")]) == 0
    assert (tmp_path / "new/deep/b.png").is_file()
    assert main([*alone, "x.gif"]) == 1
    assert "is to end in one of .jpg" in capsys.readouterr().err
