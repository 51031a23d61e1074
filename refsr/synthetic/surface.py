"""Surfaces as grids of vertices, and the atlas that contains all grids of a scene.

The rasteriser only returns the *address in the atlas* of each pixel. All that a vertex carries
(normal, colour, place in the face texture, gloss) is looked up there with one `remap`. So a scene
is drawn in a single pass, however much its vertices carry.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from refsr.synthetic.canvas import f32

NORMAL, COLOUR, PLACE, TEXTURED, GLOSS = slice(0, 3), slice(3, 6), slice(6, 8), 8, 9
CHANNELS = 10
BACK = -0.3  # below 0, because normals are bent for the light, and perspective sees around edges


@dataclass(frozen=True)
class Surface:
    """A grid: positions (R, C, 3) and what its vertices carry (R, C, CHANNELS), both float32.

    Several pieces may share one grid: `piece` is the (rows, columns) of a connected piece. The back
    of a `solid` surface is never visible.
    """

    position: np.ndarray
    carried: np.ndarray
    piece: tuple[int, int]
    solid: bool = True


def surface(
    position: np.ndarray,
    colour: object,
    gloss: float,
    normal: np.ndarray | None = None,
) -> Surface:
    """A grid of one connected piece.

    Args:
        position: (R, C, 3), head units.
        colour: (3,) or (R, C, 3), sRGB, 0-255.
        gloss: Strength of the highlight, in [0, 1].
        normal: (R, C, 3); None computes the normals of the grid.
    """
    carried = np.zeros((*position.shape[:2], CHANNELS), np.float32)
    carried[..., NORMAL] = grid_normals(position) if normal is None else normal
    carried[..., COLOUR] = colour
    carried[..., GLOSS] = gloss
    return Surface(position.astype(np.float32), carried, (position.shape[0], position.shape[1]))


def grid_normals(position: np.ndarray) -> np.ndarray:
    """Unit normals of a grid, (R, C, 3): down its columns times across its rows."""
    across, down = np.gradient(position, axis=1), np.gradient(position, axis=0)
    normal = np.cross(down, across)
    return np.asarray(normal / (np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-9), np.float32)


def tube(
    path: np.ndarray,
    radius: float,
    colour: object,
    gloss: float,
    closed: bool = False,
    sides: int = 7,
) -> Surface:
    """A round rod along a path.

    Args:
        path: (N, 3), head units.
        radius: Head units.
        colour: (3,) or (R, C, 3), sRGB, 0-255.
        gloss: Strength of the highlight, in [0, 1].
        closed: Whether the ends are joined.
        sides: Vertices around the rod.
    """
    path = np.concatenate([path, path[:1]]) if closed else path
    along = _tangents(path, closed)
    first = np.cross(along, [0.31, 0.17, 0.93])
    first /= np.linalg.norm(first, axis=1, keepdims=True) + 1e-9
    second = np.cross(along, first)
    angle = np.linspace(0, 2 * np.pi, sides)[None, :, None]
    outward = np.cos(angle) * first[:, None] + np.sin(angle) * second[:, None]
    return surface(path[:, None] + radius * outward, colour, gloss, outward)


def _tangents(path: np.ndarray, closed: bool) -> np.ndarray:
    """Unit tangents of a path, (N, 3)."""
    if closed:
        ring = np.concatenate([path[-2:-1], path, path[1:2]])
        along = np.gradient(ring, axis=0)[1:-1]
    else:
        along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
    return np.asarray(along)


def ball(
    centre: np.ndarray,
    radius: float | Sequence[float],
    colour: object,
    gloss: float,
) -> Surface:
    """An ellipsoid.

    Args:
        centre: (3,), head units.
        radius: One radius, or one per axis.
        colour: (3,) or (R, C, 3), sRGB, 0-255.
        gloss: Strength of the highlight, in [0, 1].
    """
    latitudes, longitudes = np.linspace(0, np.pi, 12), np.linspace(0, 2 * np.pi, 17)
    down, across = np.meshgrid(latitudes, longitudes, indexing="ij")
    x, z = np.sin(down) * np.sin(across), np.sin(down) * np.cos(across)
    unit = np.stack([x, np.cos(down), z], -1)
    return surface(centre + unit * radius, colour, gloss, unit)


@dataclass(frozen=True)
class Atlas:
    """All surfaces of a scene, one below the other."""

    position: np.ndarray  # (N, 3)
    carried: np.ndarray  # (R, C, CHANNELS), rows of all surfaces, as wide as the widest
    address: np.ndarray  # (N, 3): column and row of each vertex in `carried`, and 1
    triangles: np.ndarray  # (T, 3) int32


def atlas(surfaces: Sequence[Surface]) -> Atlas:
    """Join surfaces, without triangles at the back of solids; the camera looks along -z."""
    width = max(s.position.shape[1] for s in surfaces)
    carried = np.zeros((sum(s.position.shape[0] for s in surfaces), width, CHANNELS), np.float32)
    addresses, triangles, row, first = [], [], 0, 0
    for s in surfaces:
        rows, columns = s.position.shape[:2]
        carried[row : row + rows, :columns] = s.carried
        addresses.append(_addresses(rows, columns) + f32([0, row, 0]))
        corners = _triangles(rows, columns, s.piece)
        if s.solid:
            corners = corners[s.carried[..., 2].ravel()[corners[:, 0]] > BACK]
        triangles.append(corners + np.int32(first))
        row, first = row + rows, first + rows * columns
    positions = np.concatenate([s.position.reshape(-1, 3) for s in surfaces])
    return Atlas(positions, carried, np.concatenate(addresses), np.concatenate(triangles))


@lru_cache(maxsize=64)
def _addresses(rows: int, columns: int) -> np.ndarray:
    row, column = np.mgrid[:rows, :columns]
    return np.stack([column, row, np.ones_like(row)], -1).reshape(-1, 3).astype(np.float32)


@lru_cache(maxsize=64)
def _triangles(rows: int, columns: int, piece: tuple[int, int]) -> np.ndarray:
    """Two triangles a cell, but none across the border of two pieces."""
    index = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    below = np.flatnonzero(np.arange(1, rows) % piece[0])
    right = np.flatnonzero(np.arange(1, columns) % piece[1])
    a, b, c, d = (index[np.ix_(below + i, right + j)] for i in (0, 1) for j in (0, 1))
    return np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, c, b), (b, c, d))])
