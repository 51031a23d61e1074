"""The face detector finds faces and their landmarks,
on a photo and where the renderer knows them to be.
"""

import numpy as np
import plain_mtcnn
import pytest
from skimage import data

from refsr.models.pretrained import mtcnn
from refsr.models.pretrained.mtcnn import Detect, face_detector
from refsr.synthetic.people import view
from refsr.synthetic.render import Frame, model, render


@pytest.fixture(scope="module")
def detect() -> Detect:
    return face_detector()


def test_a_photo_of_a_face(detect: Detect) -> None:
    faces = detect(data.astronaut(), mtcnn.SMALLEST)
    assert len(faces.boxes) == 1
    assert faces.probability[0] > 0.99
    assert faces.boxes[0] == pytest.approx([181, 61, 85, 113], abs=4)
    eyes, mouth = faces.points[0][:2], faces.points[0][3:]
    assert eyes[0, 0] < eyes[1, 0] and eyes[:, 1].max() < mouth[:, 1].min()
    assert eyes[0] == pytest.approx([204, 101], abs=3)


@pytest.mark.parametrize("seed", [3, 4])
def test_rendered_faces_are_detected_where_they_are(detect: Detect, seed: int) -> None:
    built = model(seed)
    picture = render(built, view(seed, built.who), Frame(160, 180, 105.0, 80.0, 92.0))
    faces = detect(picture.image, 40.0)
    assert len(faces.boxes) >= 1
    assert (
        np.linalg.norm(faces.points[0] - picture.landmarks, axis=1).mean() < 0.06 * picture.box[3]
    )
    assert _overlap(faces.boxes[0], picture.box) > 0.5


@pytest.mark.parametrize("smallest", [20.0, 43.0])
def test_faces_are_those_of_every_size_and_cut_on_its_own(detect: Detect, smallest: float) -> None:
    """At the border of an image they may differ: the last cell of a size sees beyond it."""
    image = np.hstack([data.astronaut()[:301, 60:], data.astronaut()[:301, :253]])
    faces = detect(image, smallest)
    plain = plain_mtcnn.detect(plain_mtcnn.networks(), image, smallest)
    inner, at_border = np.argsort(faces.boxes[:, 0])
    same, near = np.argsort(plain.boxes[:, 0])
    assert np.allclose(faces.boxes[inner], plain.boxes[same], atol=0.01)
    assert np.allclose(faces.points[inner], plain.points[same], atol=0.01)
    assert faces.probability[inner] == pytest.approx(plain.probability[same], abs=1e-4)
    assert _overlap(faces.boxes[at_border], plain.boxes[near]) > 0.9


def test_where_there_is_no_face_there_is_none(detect: Detect) -> None:
    for image in (
        np.zeros((90, 80, 3), np.uint8),
        data.coffee()[:200, :200],
        np.zeros((9, 9, 3), np.uint8),
    ):
        faces = detect(image, 40.0)
        assert (faces.boxes.shape, faces.points.shape, len(faces.probability)) == (
            (0, 4),
            (0, 5, 2),
            0,
        )


def test_of_boxes_that_overlap_the_better_stays() -> None:
    boxes = np.array([[0, 0, 9, 9], [1, 0, 10, 9], [30, 30, 39, 39], [2, 2, 5, 5]], float)
    score = np.array([0.8, 0.9, 0.7, 0.6])
    assert mtcnn._apart(boxes, score, 0.5).tolist() == [1, 2, 3]
    assert mtcnn._apart(boxes, score, 0.5, of_smaller=True).tolist() == [1, 2]


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    corner, end = np.maximum(a[:2], b[:2]), np.minimum(a[:2] + a[2:], b[:2] + b[2:])
    common = np.maximum(0, end - corner).prod()
    return float(common / (a[2:].prod() + b[2:].prod() - common))
