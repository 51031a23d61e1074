"""Sets whose reports do not show the names of people."""

from pathlib import Path

import pandas as pd
from pages import pictures
from people_trees import DETECTOR, NAMES, PARAMS, make_people
from raw_trees import embed_colour

from refsr.curation.curated_writer import write_curated
from refsr.dataset.curated import Curated
from refsr.reporting import inspection

PEOPLE = NAMES[:5]
FACTS = "Tolkien", "山田太郎", "photo 1"


def test_names_are_hashed_in_pages_and_stay_in_the_manifest(tmp_path: Path) -> None:
    """The same name alike everywhere, with a key from the images' checksums."""
    raw = make_people(tmp_path / "raw", PEOPLE, views=3)
    (raw / PEOPLE[1] / "photo 9.jpg").write_bytes(b"")
    pages = {}
    for anonymous in (False, True):
        params = PARAMS.model_copy(update={"anonymous": anonymous})
        folder = tmp_path / f"curated {anonymous}"
        write_curated(params, raw, folder, embed_colour, 1, detector=DETECTOR)
        pages[anonymous] = inspection.inspect(Curated(folder), raw)
    assert all(fact in pages[False] for fact in FACTS)
    assert not [fact for fact in FACTS if fact in pages[True]]
    assert len(pictures(pages[True])) == len(pictures(pages[False]))
    curated, manifest = Curated(folder), pd.read_parquet(folder / "manifest.parquet")
    hashed = manifest["identity"].map(curated.names.person)
    assert curated.table["identity"].tolist() == hashed.tolist()
    assert hashed.nunique() == manifest["identity"].nunique() == len(PEOPLE)
    assert set(hashed) & set(pages[True].split("<b>")[1].split("</b>")[:1])
