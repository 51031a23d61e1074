"""Draw the flow of dvc.yaml as docs/images/flow.svg: `python -m tools.flow_diagram`.

Each stage is a box with its outputs. An arrow to the next stage is straight; arrows to later stages
leave the box at the bottom and share one lane. The picture has its own background and follows the
reader's light or dark theme.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import yaml

ROOT = Path(__file__).parents[1]
PICTURE = "docs/images/flow.svg"

BOX_WIDTH, BOX_HEIGHT = 136, 58
GAP = 20  # between two boxes
MARGIN = 16
TOP = 52  # of the boxes; above them stand raw sets that a parameter names
LANE = 26  # height of one lane below the boxes
ENTRY = 18  # between two arrows that enter a box at the bottom

STYLE = """
    text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; text-anchor: middle; }
    .card { fill: #ffffff; stroke: #d0d7de; }
    .box { fill: #ddf4ff; stroke: #0969da; stroke-width: 1.5; }
    .name { fill: #0a3069; font-weight: 600; font-size: 15px; }
    .out, .lane { fill: #57606a; font-size: 12px; }
    .lane { text-anchor: start; }
    .edge { fill: none; stroke: #57606a; stroke-width: 1.5; }
    .own { stroke-dasharray: 4 3; }
    .head { fill: #57606a; }
    @media (prefers-color-scheme: dark) {
      .card { fill: #0d1117; stroke: #30363d; }
      .box { fill: #0c2d6b; stroke: #58a6ff; }
      .name { fill: #e6edf3; }
      .out, .lane, .head { fill: #b1bac4; }
      .edge { stroke: #b1bac4; }
    }
"""


@dataclass(frozen=True)
class Stage:
    """A stage of dvc.yaml.

    `outs` and `deps` are paths; `parameters` are deps that a parameter names, such as data.raw.
    """

    name: str
    outs: tuple[str, ...]
    deps: tuple[str, ...]
    parameters: tuple[str, ...]


@dataclass(frozen=True)
class Edge:
    """`target` reads `path`, which `source` writes; both are positions in the row of stages."""

    source: int
    target: int
    path: str


def read_stages(root: Path) -> list[Stage]:
    """The stages of dvc.yaml in its order, with parameters of params.yaml filled in."""
    document = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))
    params = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    return [_stage(name, stage, params) for name, stage in document["stages"].items()]


def edges_of(stages: Sequence[Stage]) -> list[Edge]:
    """One edge for each output of a stage that another stage depends on."""
    writers = {out: place for place, stage in enumerate(stages) for out in stage.outs}
    return [
        Edge(writers[dep], place, dep)
        for place, stage in enumerate(stages)
        for dep in stage.deps
        if dep in writers
    ]


def draw(root: Path) -> str:
    """The picture as the text of an SVG file."""
    stages = read_stages(root)
    edges = edges_of(stages)
    lanes = _lanes(edges)
    width = 2 * MARGIN + len(stages) * (BOX_WIDTH + GAP) - GAP
    height = TOP + BOX_HEIGHT + (len(lanes) + 1) * LANE
    parts = [
        *_header(stages, width, height),
        *(part for edge in edges if edge.target == edge.source + 1 for part in _arrow(edge)),
        *(part for lane in enumerate(lanes.values()) for part in _lane(*lane)),
        *(part for place, stage in enumerate(stages) for part in _box(place, stage)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Write the picture."""
    parser = argparse.ArgumentParser("python -m tools.flow_diagram", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / PICTURE)
    output: Path = parser.parse_args(argv).output
    output.write_text(draw(ROOT), encoding="utf-8")
    print(output)
    return 0


def _stage(name: str, stage: dict[str, Any], params: dict[str, Any]) -> Stage:
    named = tuple(dep[2:-1] for dep in stage["deps"] if dep.startswith("${"))
    deps = [dep for dep in stage["deps"] if not dep.startswith("${")]
    deps += [_value(params, key) for key in named]
    return Stage(name, tuple(stage["outs"]), tuple(deps), named)


def _value(params: dict[str, Any], key: str) -> str:
    value: Any = params
    for part in key.split("."):
        value = value[part]
    return str(value)


def _lanes(edges: Sequence[Edge]) -> dict[str, list[Edge]]:
    """The edges that pass a box, by the path they carry."""
    lanes: dict[str, list[Edge]] = {}
    for edge in sorted(edges, key=lambda edge: (edge.source, edge.path)):
        if edge.target > edge.source + 1:
            lanes.setdefault(edge.path, []).append(edge)
    return lanes


def _left(place: int) -> int:
    return MARGIN + place * (BOX_WIDTH + GAP)


def _header(stages: Sequence[Stage], width: int, height: int) -> list[str]:
    names = escape(", ".join(stage.name for stage in stages))
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    tip = '<path class="head" d="M 0 0 L 8 4 L 0 8 z"/>'
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"  <title>The stages of dvc.yaml: {names}</title>",
        f"  <style>{STYLE}  </style>",
        '  <defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4"',
        f'    markerUnits="userSpaceOnUse" orient="auto">{tip}</marker></defs>',
        f'  <rect class="card" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="10"/>',
    ]


def _box(place: int, stage: Stage) -> list[str]:
    left, middle = _left(place), _left(place) + BOX_WIDTH // 2
    size = f'width="{BOX_WIDTH}" height="{BOX_HEIGHT}"'
    parts = [
        f'  <rect class="box" x="{left}" y="{TOP}" {size} rx="8"/>',
        _text("name", middle, TOP + 25, stage.name),
        _text("out", middle, TOP + 45, ", ".join(stage.outs)),
    ]
    for parameter in stage.parameters:
        parts += [
            _text("out", middle, TOP - 28, f"your own: {parameter}"),
            _path(f"M {middle} {TOP - 22} V {TOP - 2}", "edge own"),
        ]
    return parts


def _arrow(edge: Edge) -> list[str]:
    start, height = _left(edge.source) + BOX_WIDTH, TOP + BOX_HEIGHT // 2
    return [_path(f"M {start} {height} H {_left(edge.target) - 2}")]


def _lane(number: int, edges: Sequence[Edge]) -> list[str]:
    """One line below the boxes, from its source to every target."""
    bottom = TOP + BOX_HEIGHT
    height = bottom + LANE * (number + 1)
    start = _left(edges[0].source) + BOX_WIDTH // 2
    ends = [_left(edge.target) + BOX_WIDTH // 2 + (number - 1) * ENTRY for edge in edges]
    return [
        _path(f"M {start} {bottom} V {height} H {ends[-1]} V {bottom + 2}"),
        *(_path(f"M {end} {height} V {bottom + 2}") for end in ends[:-1]),
        _text("lane", start + 8, height - 6, edges[0].path),
    ]


def _path(line: str, kind: str = "edge") -> str:
    return f'  <path class="{kind}" d="{line}" marker-end="url(#tip)"/>'


def _text(kind: str, x: int, y: int, words: str) -> str:
    return f'  <text class="{kind}" x="{x}" y="{y}">{escape(words)}</text>'


if __name__ == "__main__":
    raise SystemExit(main())
