"""Step `fetch`: a raw set by its DVC revision.

No stage of dvc.yaml, where DVC itself brings the data.
"""

from refsr.integrations.versioning import fetch_data
from refsr.side_config import Fetch
from refsr.steps import Output
from refsr.tracker import Tracker


def fetch(params: Fetch, tracker: Tracker, *, raw: Output) -> dict[str, float]:
    """Copy the raw set of a revision into `raw`.

    The commit and the data's hash become tags of the run.

    Raises RefsrError where the repository, revision, path or S3 remote cannot be had.
    """
    fetched = fetch_data(params, raw)
    tracker.tags(
        {
            "data.commit": fetched.commit,
            "data.raw": fetched.md5,
            "data.repository": params.repository,
        }
    )
    files = [path for path in raw.rglob("*") if path.is_file()]
    return {
        "files": float(len(files)),
        "bytes": float(sum(path.stat().st_size for path in files)),
    }
