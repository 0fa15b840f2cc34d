"""Catches files of a raw folder that are neither read nor named, or are so twice: the summary against the disk."""

import copy
import sys
from pathlib import Path

import pytest

from fertools.datasets import DATASETS
from fertools.datasets.base import Quarantined, Sample
from fertools.datasets.survey import survey
from fertools.inputs.links import FollowedFolder

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))  # scripts, no package

import random_trees

NUM_TREES = 10  # 200 of each, others, are in docs/results/random_trees.json


@pytest.fixture(scope="module")
def video():
    return random_trees.one_frame()


@pytest.mark.parametrize("name", DATASETS)
def test_every_file_on_the_disk_is_read_or_named_and_no_file_twice(name, video):
    counts, wrong = random_trees.try_trees(DATASETS[name], NUM_TREES, 0, video)
    assert wrong == {} and counts["images"] and counts["quarantined"]


def test_a_file_that_is_passed_over_or_counted_twice_is_noticed():
    disk = [Path("a.jpg"), Path("b.jpg"), Path("deep/c.jpg"), Path("list.csv")]
    items = [Sample(Path("a.jpg"), "anger"), Sample(Path("a.jpg"), "anger"), Quarantined(Path("deep"), "not read")]
    items += [Sample(Path("list.csv"), "anger", place=1), Sample(Path("gone.jpg"), "anger")]
    wrong = random_trees.faults(DATASETS["folder"], disk, items)
    assert wrong == ["a.jpg: 2 times", "b.jpg: 0 times", "gone.jpg: read, and not on the disk"]


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
