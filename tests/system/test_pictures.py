import json

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import CPU, run_spec, silent
from typer.testing import CliRunner

from manifests import files
from trainer.cli.main import app
from trainer.data.fold_data import FoldData
from trainer.errors import TrainerError
from trainer.evaluation.evaluate import load
from trainer.evaluation.reporting import pictures
from trainer.evaluation.reporting.image_grid import CELL, GAP, Cell, Row, draw, pixels
from trainer.experiments.figures import FIGURES, Drawn
from trainer.experiments.papers.item import Variant
from trainer.methods import build
from trainer.runs.run import Run, RunError
from trainer.training.fit import fit

NAMES = ["anger", "fear", "happiness"]
GREYS = torch.tensor([-0.6, 0.0, 0.6])


class Stub:
    """Makes of a grey face the average of the same grey, and reads the next expression from it; looks at itself."""

    averages = GREYS.view(3, 1, 1, 1) + torch.linspace(-0.2, 0.2, 32).expand(3, 1, 32, 32)

    def get_buffer(self, target):
        assert target == "averages"
        return self.averages

    def _classes(self, images):
        return (images.mean((1, 2, 3))[:, None] - GREYS).abs().argmin(1)

    def __call__(self, images):
        return 3.0 * torch.nn.functional.one_hot((self._classes(images) + 1) % 3, 3)

    def transfer(self, images):
        return self.averages[self._classes(images)]

    def attention_maps(self, images):
        return {"encoding": torch.eye((images.shape[-1] // 4) ** 2)[None]}

    def named_parameters(self):
        yield "generator.attentions.encoding.gamma", torch.nn.Parameter(torch.tensor(0.25))


def faces(*classes):
    return GREYS[list(classes)].view(-1, 1, 1, 1).expand(-1, 1, 48, 48)


def place_of(board, picture):
    """Where on a board a picture stands, pixel for pixel."""
    windows = np.lib.stride_tricks.sliding_window_view(board, 16, axis=1)
    for top, left in np.argwhere((windows == picture[0, :16]).all(-1)):
        if np.array_equal(board[top : top + len(picture), left : left + len(picture)], picture):
            return int(top), int(left)
    raise AssertionError("not on the board")


# --- pictures in rows and columns


def test_pictures_stand_in_rows_and_columns_pixel_for_pixel():
    shown = np.random.default_rng(0).integers(0, 256, (2, 3, CELL, CELL), dtype=np.uint8)
    rows = [Row(f"row {row}", [Cell(picture, "a title") for picture in shown[row]]) for row in range(2)]
    rows[1].cells[1] = Cell()
    board = pixels(draw(rows))
    places = np.array([[place_of(board, shown[row][column]) for column in (0, 2)] for row in range(2)])
    assert (places[:, :, 0] == places[:, :1, 0]).all() and (places[:, :, 1] == places[:1, :, 1]).all()
    assert places[1, 0, 0] - places[0, 0, 0] > CELL and places[0, 1, 1] - places[0, 0, 1] > 2 * CELL
    top, left = place_of(board, shown[1][0])
    hole = board[top : top + CELL, left + CELL + GAP : places[1, 1, 1] - GAP]
    assert hole.shape == (CELL, CELL) and (hole == 255).all()


def test_names_and_titles_are_written_outside_of_the_pictures():
    rows = [
        Row("a name of some $ length\nand $more", [Cell(np.full((20, 20), 128, np.uint8), "a title\nof two lines")])
    ]
    board = pixels(draw(rows))
    top, left = place_of(board, np.full((CELL, CELL), 128, np.uint8))
    assert (board[top:, :left] < 128).any() and (board[:top, left:] < 128).any()
    edges = [board[0], board[-1], board[:, 0], board[:, -1]]
    assert all((edge == 255).all() for edge in edges)  # nothing is cut off


def test_a_dot_is_where_it_is_asked_for():
    board = pixels(draw([Row("", [Cell(np.full((CELL, CELL), 100, np.uint8), dot=(0.25, 0.75))])]))
    top, left = np.argwhere((board == 100).all(-1)).min(0)
    centre = np.argwhere((board == (0, 255, 255)).all(-1)).mean(0)
    np.testing.assert_allclose(centre, (top + 0.75 * CELL - 0.5, left + 0.25 * CELL - 0.5), atol=0.6)


# --- faces made average


def test_a_sheet_shows_each_face_what_is_made_of_it_and_the_average_of_what_is_read():
    shown = pictures.transfer(Stub(), faces(2, 0))
    told = pictures.records(shown, NAMES)
    assert [one["nearest_average"] for one in told] == ["happiness", "anger"]
    assert [one["expression"] for one in told] == ["anger", "fear"]  # as the stub reads
    assert all(0.8 < one["probability"] < 1 for one in told)
    *rows, last = pictures.transfer_sheet(["one.png", "two.png"], shown, Stub(), NAMES)
    averages = pictures.levels(Stub.averages)
    for row, made, read in zip(rows, (2, 0), (0, 1), strict=True):
        face, picture, average = (cell.picture for cell in row.cells)
        assert (face == pictures.levels(faces(made))[0]).all()
        assert (picture == averages[made]).all() and (average == averages[read]).all()
    assert rows[0].name == "one.png\nanger 0.91\nnearest average: happiness"
    assert [cell.title for cell in last.cells] == NAMES
    assert all((cell.picture == average).all() for cell, average in zip(last.cells, averages, strict=True))


def test_of_many_faces_a_sheet_shows_the_first_and_all_are_told():
    shown = pictures.transfer(Stub(), faces(*[0, 1, 2] * 20))
    assert len(pictures.records(shown, NAMES)) == 60
    assert len(pictures.transfer_sheet(["a"] * 60, shown, Stub(), NAMES)) == pictures.NUM_SHOWN + 1


def test_people_who_show_most_and_what_others_do_not_are_shown():
    seen = {"a": "anger", "b": "anger fear happiness", "c": "anger fear", "d": "fear sadness"}
    subjects = [f"set/{who}" for who, shows in seen.items() for _ in shows.split()]
    expressions = " ".join(seen.values()).split()
    columns = ["anger", "fear", "happiness", "sadness"]
    chosen = pictures.people(np.array(subjects), np.array(expressions), columns, 3)
    assert list(chosen) == ["b", "d", "c"]
    for person, line in chosen.items():
        shown = [(subjects[place], expressions[place]) for place in line if place is not None]
        assert shown == [(f"set/{person}", name) for name in seen[person].split()]


def test_where_nobody_is_named_each_row_shows_further_faces():
    expressions = np.array(["fear", "anger", "fear", "anger", "anger"])
    chosen = pictures.people(np.array([None] * 5), expressions, ["anger", "fear"], 4)
    assert list(chosen.values()) == [[1, 0], [3, 2], [4, None]]


def test_each_person_stands_above_what_is_made_of_them():
    rows = pictures.transfer_grid(Stub(), faces(0, 1, 2), {"a": [None, 1, 2], "b": [0, None, None]}, NAMES)
    assert [row.name for row in rows] == ["a", "G(I)", "b", "G(I)", "average"]
    seen, averages = pictures.levels(faces(0, 1, 2)), pictures.levels(Stub.averages)
    for above, below, line in ((rows[0], rows[1], [None, 1, 2]), (rows[2], rows[3], [0, None, None])):
        for face, made, place in zip(above.cells, below.cells, line, strict=True):
            if place is None:
                assert face.picture is made.picture is None
            else:
                assert (face.picture == seen[place]).all() and (made.picture == averages[place]).all()


def test_stored_crops_are_shown_to_a_painter_as_a_manifests_are(patterns):
    data = FoldData(patterns, 1, CPU, plain=True)
    crops = files.read_images(patterns, data.rows["validation"])
    assert torch.equal(pictures.prepared(list(crops), CPU), torch.cat(list(data.upright("validation"))))


def test_colours_stay_where_they_are():
    crop = np.random.default_rng(0).integers(0, 256, (144, 144, 3), dtype=np.uint8)
    face = pictures.prepared([crop], CPU)
    assert face.shape == (1, 3, 112, 112)
    np.testing.assert_array_equal(pictures.levels(face)[0], crop[16:-16, 16:-16])
    (row,) = pictures.attention_rows(Stub(), face, {"a": (0.5, 0.5)})
    board = pixels(draw([Row("", [row.cells[0]._replace(dot=None)])]))
    assert (board[-CELL - GAP : -GAP, -CELL - GAP : -GAP] == row.cells[0].picture).all()


# --- where it looks


def test_a_points_map_is_that_of_its_position():
    points = [(0.0, 0.0), (0.3, 0.8), (1.0, 0.5)]
    maps = pictures.query_maps(Stub(), faces(0), points)["encoding"]
    assert maps.shape == (3, 12, 12)
    assert [np.unravel_index(one.argmax(), one.shape) for one in maps] == [(0, 0), (9, 3), (6, 11)]


def test_a_generators_maps_are_shares_at_each_place_in_its_order(run):
    method, data = run[1:]
    maps = pictures.query_maps(method, next(data.upright("test"))[:1], list(pictures.POINTS.values()))
    assert {one.shape for one in maps.values()} == {(6, 8, 8)}
    for one in maps.values():
        np.testing.assert_allclose(one.sum((1, 2)), 1, rtol=1e-5)
    rows = pictures.attention_of(method, data)
    assert [cell.title.split("\n")[0] for cell in rows[0].cells] == ["face", "encoding", "skip", "decoding"]
    assert [row.name for row in rows] == list(pictures.POINTS)
    assert all(cell.dot == dot for row, dot in zip(rows, pictures.POINTS.values(), strict=True) for cell in row.cells)


def test_the_brightest_of_a_map_is_where_it_looks():
    (row,) = pictures.attention_rows(Stub(), faces(1), {"a": (0.3, 0.8)})
    assert row.cells[1].title == "encoding\ngamma 0.25\nup to 144.0 x even"
    bright = np.unravel_index(row.cells[1].picture.sum(-1).argmax(), (48, 48))
    assert abs(bright[0] - 37.5) <= 1 and abs(bright[1] - 13.5) <= 1


@pytest.mark.parametrize("text", ["0.5", "0.5,1.2", "a,b", "1,2,3", "nan,0"])
def test_what_is_no_place_is_refused(text):
    with pytest.raises(TrainerError, match="expected x,y as shares of the aligned face, from 0 to 1, like 0.34,0.46"):
        pictures.point(text)


# --- runs


@pytest.fixture(scope="module")
def run(patterns, tmp_path_factory):
    run = fit(run_spec(patterns, "ifgan", "epochs=1"), tmp_path_factory.mktemp("runs"), CPU, silent)
    method, data = load(run, patterns.parent, CPU)
    data.open_test()
    return run, method.eval(), data


def test_a_runs_page_shows_what_is_made_of_unseen_people_and_where_it_looks(run):
    page = (run[0].folder / "report.html").read_text()
    assert page.count('class="painted" src="data:image/png') == 2
    assert "Faces as the average person would make them" in page and "Where the generator looks" in page


def test_a_page_shows_no_attention_where_there_is_none_and_nothing_of_a_method_that_does_not_paint(run, patterns):
    data = run[2]
    settings = run[0].read_json("config.json")["settings"] | {"attention": False}
    method = build("ifgan", settings, NAMES, 0, CPU)
    method.averages.copy_(run[1].averages)
    assert [one["title"] for one in pictures.sections(method, data)] == ["Faces as the average person would make them"]
    other = run_spec(patterns, "resnet")
    assert pictures.sections(build("resnet", vars(other.config()), NAMES, 0, CPU), data) == []


@pytest.mark.parametrize(
    ("method", "settings", "words"),
    [
        ("resnet", (), "is of method resnet, which makes no pictures; those that do: ifgan"),
        ("ifgan", ("attention=false",), "was trained with attention=false: it has no attention maps"),
    ],
)
def test_a_run_that_does_not_paint_or_attend_is_refused(method, settings, words, patterns, tmp_path):
    config = vars(run_spec(patterns, method, *settings).config())
    run = Run(tmp_path)
    run.write_json("config.json", {"method": method, "settings": config})
    with pytest.raises(RunError, match=words):
        pictures.painter(run, build(method, config, NAMES, 0, CPU), attends=True)


def test_figures_tell_what_they_show(run, patterns):
    rows = [Drawn(Variant(title="IF-GAN", method="ifgan"), "set", (run[0],))]
    for name, words in (("transfer", ["IF-GAN", "set, drawn faces", *NAMES]), ("attention", ["skip", "forehead"])):
        text = FIGURES[name](rows, patterns.parent, CPU)
        assert text.startswith("<svg") and all(f"<!-- {word}" in text or word in text for word in words)


def test_the_commands_write_pictures_whole_and_tell_what_is_read(run, drawn_raw, tmp_path):
    photo = sorted((drawn_raw / "cohn-kanade-images").rglob("*.png"))[-1]
    noise, out = tmp_path / "noise.png", tmp_path / "made/sheet.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (99, 99), dtype=np.uint8)).save(noise)
    words = ["transfer", str(run[0].folder), str(noise), str(photo), "--out", str(out), "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0 and done.stderr == f"{noise}: no face found\n"
    told = json.loads(done.stdout)["images"]
    assert told[0] == {"image": str(noise), "reason": "no face found"}
    assert told[1]["image"] == str(photo) and {told[1]["expression"], told[1]["nearest_average"]} <= set(NAMES)
    done = CliRunner().invoke(app, [*words[:4], "--out", str(out)])
    assert f"{photo}: {told[1]['expression']} {told[1]['probability']:.3f}" in done.stdout
    looked = tmp_path / "made/looks.png"
    words = ["attention", str(run[0].folder), str(photo), "--at", "0.5,0.8", "--out", str(looked)]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (out, looked))
    assert sorted(out.parent.iterdir()) == [looked, out]


def test_a_picture_of_another_kind_is_refused_before_anything_is_done(tmp_path):
    done = CliRunner().invoke(app, ["transfer", str(tmp_path / "absent"), "a.png", "--out", "a.jpg"])
    assert done.exit_code == 1 and done.stderr == "error: --out a.jpg: expected the name of a PNG file, like a.png\n"
