"""Catches files of a raw folder that are neither read nor named, or are so twice: the summary against the disk."""

import copy
import os
import tempfile
from collections import Counter
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import write_video

from fertools.datasets import DATASETS
from fertools.datasets.base import DatasetError, Note, Quarantined, Sample, is_junk
from fertools.datasets.survey import survey
from fertools.inputs.links import FollowedFolder

STRANGERS = [
    "notes.txt",
    "README.md",
    "more.zip",
    "photo.jpg",
    "photo.png",
    ".DS_Store",
    "._x.png",
    "list.csv",
    "noending",
]
FOLDERS = ["validation", "val", "Test", "train", "extra/deep", "happy", "2", "P001", "S005/001", "__MACOSX", "images"]


def texts(dataset):
    return {path.partition("@")[0]: "" for path in dataset.examples} | dict(dataset.example_texts)


@st.composite
def trees(draw, dataset):
    """A dataset's own files, less some, with copies of some and strangers in places that are likely, or are not."""
    own = texts(dataset)
    names = sorted(own)
    kept = set(names) - draw(st.sets(st.sampled_from(names), max_size=2))
    parents = sorted({str(parent) for name in names for parent in PurePosixPath(name).parents} | set(FOLDERS))
    folders, files = (
        st.sampled_from(parents),
        st.sampled_from([*STRANGERS, *(PurePosixPath(name).name for name in names)]),
    )
    extra = draw(st.lists(st.tuples(folders, files), max_size=6))
    targets = st.sampled_from([*names, *parents, "../outside", "nowhere"])
    links = draw(st.lists(st.tuples(folders, targets), max_size=2))
    return {name: own[name] for name in sorted(kept)}, [str(PurePosixPath(*pair)) for pair in extra], links


def build(root, tree, video):
    own, extra, links = tree
    for name, text in [*own.items(), *((name, own.get(name, "")) for name in extra)]:
        path = root / name
        if any(parent.is_file() for parent in path.parents) or path.is_dir():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(video if name.lower().endswith(".avi") else text.encode())
    for number, (folder, target) in enumerate(links):
        if (root / folder).is_dir():
            (root / folder / f"link{number}.jpg").symlink_to(os.path.relpath(root / target, root / folder))


def disk(root, folder=None):
    """Every file and link below root that is no junk, by its path; no link to a folder is followed."""
    for path in sorted((folder or root).iterdir()):
        if is_junk(path.name):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from disk(root, path)
        else:
            yield path.relative_to(root)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "one.avi"
    write_video(path, num_frames=1)
    return path.read_bytes()


@pytest.mark.parametrize("name", DATASETS)
def test_every_file_on_the_disk_is_read_or_named_and_no_file_twice(name, video):
    dataset = DATASETS[name]

    @settings(max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(trees(dataset))
    def holds(tree):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "raw"
            root.mkdir()
            (Path(folder) / "outside").mkdir()
            build(root, tree, video)
            try:
                items = [item for item in survey(dataset, root) if not isinstance(item, Note)]
            except DatasetError:
                return
            check(dataset, root, items)

    holds()


def check(dataset, root, items):
    images = Counter(item.path for item in items if isinstance(item, Sample) and item.place is None)
    tables = {item.path for item in items if isinstance(item, Sample) and item.place is not None}
    named = Counter(
        item.path for item in items if isinstance(item, Quarantined) and item.path != Path() and item.path not in tables
    )
    on_disk = list(disk(root))
    for path in on_disk:
        above = [parent for parent in path.parents if parent in named and parent != Path()]
        times = images[path] + named[path] + len(above) + (path in tables)
        companion = dataset.companions and dataset.companions.search(path.as_posix())
        assert times == 1 or (times == 0 and companion), (path, times, images[path], named[path], above)
    assert set(images) <= set(on_disk)


# --- links


def test_links_out_of_the_folder_are_followed_on_request_only_and_never_in_a_circle(tmp_path):
    cache, root = tmp_path / "cache", tmp_path / "raw"
    for path in (cache / "anna/1.jpg", cache / "blob", root / "happy/anna/0.jpg"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (root / "sad").mkdir()
    (root / "sad/2.jpg").symlink_to(cache / "blob")  # as DVC and Hugging Face's cache do
    (root / "fear").symlink_to(cache)
    (cache / "anna/up").symlink_to(cache)
    (root / "anger").symlink_to(root / "happy")
    (root / "happy/gone.jpg").symlink_to(root / ".git/annex/objects/gone")
    folder = DATASETS["folder"]

    def read(raw):
        items = list(survey(folder, raw))
        taken = {item.path.as_posix() for item in items if isinstance(item, Sample)}
        return taken, {item.path.as_posix(): item.reason for item in items if isinstance(item, Quarantined)}

    taken, bad = read(root)
    assert taken == {"happy/anna/0.jpg"} and bad.keys() == {"sad/2.jpg", "fear", "anger", "happy/gone.jpg"}
    assert "leaves the raw folder" in bad["fear"] and "--follow-links" in bad["sad/2.jpg"]
    assert (
        "link to the folder happy, whose files are read there" in bad["anger"]
        and "git annex get" in bad["happy/gone.jpg"]
    )
    taken, bad = read(FollowedFolder(root))
    assert taken == {"happy/anna/0.jpg", "sad/2.jpg", "fear/anna/1.jpg"}
    assert "leads back" in bad["fear/anna/up"] and "fear/blob" in bad and "anger" in bad


def test_a_followed_folder_stays_one_through_other_processes_and_absolute_paths(tmp_path):
    assert isinstance(copy.deepcopy(FollowedFolder(tmp_path)).absolute(), FollowedFolder)  # as pickle does
