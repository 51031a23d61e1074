"""Lines of the service's log for tests, and lines that are none."""

import json

from refsr.inference.image_statistics import image_statistics

BAD = [
    "", "12:00:01 INFO    serve: answered", "{", "[1]", "{}}", '"{}"', "\x00\xff", "{" * 5000,
    '{"path": "/v1/upscale", "status": 200, "statistics": [{}]}',
    '{"path": "/v1/upscale", "status": 200, "statistics": [3]}',
    '{"path": "/v1/upscale", "status": 200, "statistics": 3}',
    '{"path": "/v1/upscale", "status": 200, "statistics": [], "fits": [3]}',
    '{"path": "/v1/upscale", "status": 200, "seconds": "long"}',
]  # fmt: skip


def line(faces, **more):
    """A line of the service."""
    values = [image_statistics(face, face.shape[0]) for face in faces]
    fields = {
        "time": "2026-11-29T10:00:00",
        "path": "/v1/upscale",
        "status": 200,
        "version": "3",
    }
    fields |= {
        "seconds": 0.5,
        "fits": [[0.9, 0.1]],
        "statistics": values,
    }
    return json.dumps(fields | more)
