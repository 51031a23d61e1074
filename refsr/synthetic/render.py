"""Render a view of a person: pose, camera, one rasterised pass, light, shadow, background."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from refsr.synthetic.accessories import accessories
from refsr.synthetic.background import background
from refsr.synthetic.canvas import f32
from refsr.synthetic.expression import paint_view
from refsr.synthetic.geometry import PIVOT, Head, ears, express, face_hull, head, landmarks, torso
from refsr.synthetic.hair import hair, scalped
from refsr.synthetic.people import person
from refsr.synthetic.surface import COLOUR, GLOSS, NORMAL, PLACE, TEXTURED, Atlas, Surface, atlas
from refsr.synthetic.texture import Skin, paint_skin
from refsr.synthetic.traits import Person, View

SUPERSAMPLING = 2
FAR = 1000.0


@dataclass(frozen=True)
class Model:
    """A person ready to be rendered: all that is the same in every view."""

    who: Person
    skin: Skin
    head: Head
    fixed: tuple[Surface, ...]  # what turns with the head and never changes its shape


@dataclass(frozen=True)
class Frame:
    """The size of an image and the place of the face box in it, pixels."""

    width: int
    height: int
    box_height: float
    x: float  # centre of the face box
    y: float


@dataclass(frozen=True)
class Picture:
    """A rendered image with its ground truth, in pixels of the image."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    box: np.ndarray  # (4,) left, top, width, height; may cross the border
    landmarks: np.ndarray  # (5, 2): eyes, nose, corners of the mouth, left in the image first


def model(seed: int) -> Model:
    """The person of a seed, built once for all its views."""
    who = person(seed)
    bare = head(who)
    fixed = (*hair(who, bare), *ears(who), *accessories(who, bare))
    return Model(who, paint_skin(who), scalped(who, bare), fixed)


def render(built: Model, look: View, frame: Frame) -> Picture:
    """Render one view of a person."""
    who = built.who
    face = express(built.head, who, look)
    turn = _rotation(look.yaw, look.pitch, look.roll)
    lean = _rotation(0.4 * look.yaw, 0.15 * look.pitch, 0.25 * look.roll)
    moving = [_turned(s, turn) for s in (face, *built.fixed)]
    scene = atlas([*moving, *(_turned(s, lean) for s in torso(who, look))])
    neutral = [landmarks(built.head, face, who, look), face_hull(built.head, face)]
    points = _turn(np.concatenate(neutral), turn)
    camera = _aim(points[5:], look, frame)
    marks = _project(points, camera)
    box = np.concatenate([marks[5:].min(0), np.ptp(marks[5:], axis=0)])
    image = _draw(scene, paint_view(built.skin, who, look), look, frame, camera)
    return Picture(image, box, marks[:5])


def _rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    cy, sy, cp, sp, cr, sr = (
        np.cos(yaw),
        np.sin(yaw),
        np.cos(pitch),
        np.sin(pitch),
        np.cos(roll),
        np.sin(roll),
    )
    around_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    around_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    around_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray(around_z @ around_x @ around_y, np.float32)


def _turn(points: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    return np.asarray((points - PIVOT) @ rotation.T + PIVOT)


def _turned(s: Surface, rotation: np.ndarray) -> Surface:
    carried = s.carried.copy()
    carried[..., NORMAL] = s.carried[..., NORMAL] @ rotation.T
    return replace(s, position=_turn(s.position, rotation), carried=carried)


@dataclass(frozen=True)
class _Camera:
    distance: float  # from the origin, head units
    scale: float  # pixels per head unit in the plane z = 0
    x: float  # pixel of the optical axis
    y: float


def _project(points: np.ndarray, camera: _Camera) -> np.ndarray:
    """(N, 3) head units -> (N, 2) pixels."""
    near = camera.scale * camera.distance / (camera.distance - points[:, 2])
    return np.stack([camera.x + points[:, 0] * near, camera.y - points[:, 1] * near], 1)


def _aim(face: np.ndarray, look: View, frame: Frame) -> _Camera:
    """The camera with which the face box has the height and the centre of the frame."""
    unit = _project(face, _Camera(look.distance, 1.0, 0.0, 0.0))
    scale = frame.box_height / float(np.ptp(unit[:, 1]))
    x, y = (unit.max(0) + unit.min(0)) / 2 * scale
    return _Camera(look.distance, scale, frame.x - float(x), frame.y - float(y))


def _draw(
    scene: Atlas,
    texture: np.ndarray,
    look: View,
    frame: Frame,
    camera: _Camera,
) -> np.ndarray:
    """The image: covered pixels are looked up and lit, the rest is background."""
    size = (frame.height * SUPERSAMPLING, frame.width * SUPERSAMPLING)
    address, depth = _rasterise(scene, size, camera)
    covered = address[..., 2] > 0.5
    seen = _lookup(scene.carried, address[..., 0][covered], address[..., 1][covered])
    painted = _lookup(texture, *seen[:, PLACE].T)
    albedo = seen[:, COLOUR] + seen[:, TEXTURED, None] * (painted - seen[:, COLOUR])
    backdrop = background(look, frame.width, frame.height)
    light = _unit(f32(look.light))
    shadow, open_ = (mask[covered] for mask in _occlusion(depth, light, camera))
    image = cv2.resize(_linear(backdrop), (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    image[covered] = _light(_linear(albedo), seen, shadow, open_, light, look, backdrop)
    return _develop(image, look, frame)


def _lookup(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Interpolate `image` (H, W, K) at N places: (N, K). `remap` needs places in two dimensions."""
    shape = (-(-len(x) // 256), 256)
    map_x, map_y = np.resize(x, shape), np.resize(y, shape)
    values = cv2.remap(image, map_x, map_y, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
    return np.asarray(values.reshape(-1, image.shape[2])[: len(x)])


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.sqrt(np.einsum("...k,...k->...", vectors, vectors))
    return np.asarray(vectors / (length[..., None] + 1e-6))


def _rasterise(
    scene: Atlas,
    size: tuple[int, int],
    camera: _Camera,
) -> tuple[np.ndarray, np.ndarray]:
    """The address in the atlas of each pixel, (H, W, 3), and its depth, (H, W), head units."""
    address = np.zeros((*size, 3), np.float32)
    depth = np.full(size, FAR, np.float32)
    settings = cv2.TriangleRasterizeSettings()
    settings.setShadingType(cv2.RASTERIZE_SHADING_SHADED)
    settings.setCullingMode(cv2.RASTERIZE_CULLING_NONE)
    vertices = _vertices(scene, size, camera)
    pose, angle = np.eye(4, dtype=np.float32), np.pi / 2
    draw = cv2.triangleRasterize
    draw(vertices, scene.triangles, scene.address, address, depth, pose, angle, 0.1, FAR, settings)
    return address, depth


def _vertices(scene: Atlas, size: tuple[int, int], camera: _Camera) -> np.ndarray:
    """The vertices, (N, 3), as OpenCV projects them: with x * (height / 2) / z."""
    height, width = size
    away = camera.distance - scene.position[:, 2:]
    pixels = (_project(scene.position, camera) + 0.5) * SUPERSAMPLING - 0.5
    centred = pixels - f32([(width - 1) / 2, (height - 1) / 2])
    scaled = centred * f32([2 / height, -2 / height])
    return np.concatenate([scaled * away, -away], 1).astype(np.float32)


def _linear(image: np.ndarray) -> np.ndarray:
    """sRGB, 0-255, to linear light in [0, 1], with gamma 2, which is close and 100 times faster."""
    scaled = np.clip(image, 0, 255) * np.float32(1 / 255)
    return np.asarray(scaled * scaled, np.float32)


def _light(
    albedo: np.ndarray,
    seen: np.ndarray,
    shadow: np.ndarray,
    open_: np.ndarray,
    light: np.ndarray,
    look: View,
    backdrop: np.ndarray,
) -> np.ndarray:
    """Linear RGB, (N, 3): key light with soft shadow, ambient light and a highlight."""
    key = f32([1 + look.warmth, 1, 1 - look.warmth]) * np.float32(1.28 - 0.6 * look.ambient)
    normal = _unit(seen[:, NORMAL])
    diffuse = _diffuse(normal @ light) * shadow[:, None]
    above = (0.68 + 0.32 * normal[:, 1]) * open_
    shine = _shine(normal, light) * shadow * seen[:, GLOSS] * np.float32(0.5)
    edge = (1 - np.clip(normal[:, 2], 0, 1)) ** 3 * open_ * np.float32(0.08 * look.ambient)
    matt = albedo * (key * diffuse + _sky(look, backdrop) * above[:, None])
    return np.asarray(matt + (shine + edge)[:, None] * key)


def _shine(normal: np.ndarray, light: np.ndarray) -> np.ndarray:
    """The highlight, (N,): Blinn-Phong with exponent 24."""
    shine = np.clip(normal @ _unit(light + f32([0, 0, 1])), 0, 1) ** 8
    return np.asarray(shine * shine * shine)


def _diffuse(facing: np.ndarray) -> np.ndarray:
    """Diffuse light per channel, (N, 3), from the cosine to the light; red light spreads most."""
    wrap = f32([0.42, 0.26, 0.2])
    return np.asarray(np.clip((facing[:, None] + wrap) / (1 + wrap), 0, 1))


def _sky(look: View, backdrop: np.ndarray) -> np.ndarray:
    """The colour of the ambient light, (3,), tinted by the background."""
    around = backdrop.reshape(-1, 3).mean(0)
    tint = (0.75 + 0.25 * around / (around.mean() + 1)).astype(np.float32)
    return np.asarray(tint * np.float32(1.1 * look.ambient))


def _occlusion(
    depth: np.ndarray,
    light: np.ndarray,
    camera: _Camera,
) -> tuple[np.ndarray, np.ndarray]:
    """The shares of the key light and of the ambient light at each pixel, (H, W) each."""
    small = depth[::SUPERSAMPLING, ::SUPERSAMPLING]
    small = np.minimum(small, small[small < FAR].max() + 0.5)
    size = (depth.shape[1], depth.shape[0])
    shadow = _shadow(small, light, camera)
    return cv2.resize(shadow, size), cv2.resize(_openness(small, camera), size)


def _shadow(depth: np.ndarray, light: np.ndarray, camera: _Camera) -> np.ndarray:
    size = (depth.shape[1], depth.shape[0])
    options = {"flags": cv2.WARP_INVERSE_MAP, "borderMode": cv2.BORDER_REPLICATE}
    blocked = np.zeros_like(depth)
    for reach in (0.05, 0.09, 0.14, 0.2, 0.28, 0.38, 0.52):
        x, y = light[0] * reach * camera.scale, -light[1] * reach * camera.scale
        there = cv2.warpAffine(depth, f32([[1, 0, x], [0, 1, y]]), size, **options)
        over = depth - light[2] * reach - there  # height of the surface above the ray to the light
        blocked = np.maximum(blocked, np.clip(over / 0.05, 0, 1) * (over < 0.6))
    soft = cv2.GaussianBlur(blocked, (0, 0), max(0.6, 0.02 * camera.scale))
    return np.asarray(1 - 0.8 * soft)


def _openness(depth: np.ndarray, camera: _Camera) -> np.ndarray:
    hollow = np.zeros_like(depth)
    for radius in (0.05, 0.14):
        mean = cv2.GaussianBlur(depth, (0, 0), max(0.5, radius * camera.scale))
        hollow += np.clip((depth - mean) / radius, 0, 0.6)
    return np.asarray(1 - 0.55 * np.clip(hollow, 0, 1))


def _develop(linear: np.ndarray, look: View, frame: Frame) -> np.ndarray:
    """Exposure, white balance, film curve, reduction to the size of the image and sensor noise."""
    balance = f32([1 + 0.6 * look.warmth, 1, 1 - 0.6 * look.warmth])
    balance = balance * np.float32(1.3 * look.exposure)
    exposed = np.maximum(linear * balance, 0)
    toned = np.sqrt(exposed / (1 + np.float32(0.3 / 1.3) * exposed))
    small = cv2.resize(toned, (frame.width, frame.height), interpolation=cv2.INTER_AREA) * 255
    grain = np.random.default_rng([8, look.seed]).standard_normal(small.shape, dtype=np.float32)
    return np.asarray(np.clip(small + 1.3 * grain, 0, 255), np.uint8)
