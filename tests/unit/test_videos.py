"""Catches a video that is taken for a photograph, and a photograph that is taken for a video."""

import numpy as np
import pytest
from pictures import encoded, write_video

from trainer.inference.video import FrameError, is_video


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"FLV\x01\x05\0\0\0\x09", "Flash Video"),
        (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), "Windows Media"),
        (b"\0\0\x01\xba\x44\0\x04", "MPEG program stream"),
        (b"\0\0\x01\xb3\x14\0\xf0", "MPEG video"),
        ((b"\x47\x40\x11\x10" + bytes(184)) * 3, "MPEG transport stream"),
        (b"OggS\0\x02", "Ogg"),
    ],
)
def test_a_video_of_a_format_that_is_not_read_is_named_with_what_to_do(start, kind, tmp_path):
    (path := tmp_path / "clip.jpg").write_bytes(start + b"\0" * 600)
    with pytest.raises(FrameError, match=f"a video in .*{kind}.*, which is not read; make an MP4 of it"):
        is_video(path)


def test_an_avi_is_one_and_no_picture_is(tmp_path):
    write_video(path := tmp_path / "clip.avi", num_frames=1)
    assert is_video(path)
    grey = np.zeros((40, 40), np.uint8)
    for data in (encoded(grey, "GIF")[:188].ljust(188, b"G") + b"G" * 189, encoded(grey), encoded(grey, "JPEG"), b""):
        path.write_bytes(data)
        assert not is_video(path)
