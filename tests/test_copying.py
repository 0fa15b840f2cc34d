import io

import pytest

from manifests import copying
from manifests.copying import BLOCK, PIECE, copy_beginning

NUM = 2 * PIECE + BLOCK + 5


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("copying") / "source"
    path.write_bytes(bytes(range(251)) * (NUM // 251) + bytes(NUM % 251))
    return path


def unable(*_):
    raise OSError("not here")


@pytest.mark.parametrize("length", [0, 1, BLOCK - 1, BLOCK, PIECE - 1, PIECE, PIECE + BLOCK + 1, 2 * PIECE, NUM])
@pytest.mark.parametrize("unable_to", [[], ["_share"], ["_share", "_copy_past_cache"]], ids=len)
def test_any_length_is_copied_in_every_way(length, unable_to, source, tmp_path, monkeypatch):
    for way in unable_to:
        monkeypatch.setattr(copying, way, unable)
    with io.FileIO(source) as file:
        copy_beginning(file, tmp_path / "target", length)
    assert (tmp_path / "target").read_bytes() == source.read_bytes()[:length]


def test_a_file_that_is_shorter_than_it_said_is_not_made_up(source, tmp_path):
    with io.FileIO(source) as file, pytest.raises(OSError, match="source is cut short"):
        copy_beginning(file, tmp_path / "target", NUM + BLOCK)
