"""What a run's page says: the numbers of its cards, what is kept of a training, which faces it shows."""

import math

import numpy as np
import pytest
from html_pages import Page

from trainer.evaluation.reporting import drawing, run_cards, run_figures

NAMES = ["anger", "fear", "joy"]


def test_a_class_has_its_faces_and_wilsons_intervals():
    rows = {row["name"]: row for row in run_cards.class_rows([[8, 2, 0], [0, 0, 0], [0, 0, 5]], NAMES)}
    assert (rows["anger"]["faces"], rows["anger"]["read"]) == (10, 8)
    recall = rows["anger"]["recall"]
    assert (recall["low"], recall["high"]) == pytest.approx((0.4902, 0.9433), abs=1e-4)  # 8 of 10, Wilson 1927
    assert rows["joy"]["recall"]["high"] == 1 and rows["joy"]["recall"]["low"] > 0.5
    assert rows["fear"]["recall"] is None and rows["fear"]["precision"]["value"] == 0  # nobody shows it


def test_wrong_faces_are_found_with_what_was_read_the_most_confident_first():
    truth, read = np.array(["fear", "joy", "anger", "joy"]), np.array(["fear", "anger", "joy", "joy"])
    probabilities = np.array([[0.1, 0.8, 0.1], [0.6, 0.0, 0.4], [0.05, 0.0, 0.95], [0.0, 0.0, 1.0]])
    found = run_cards.wrong_faces(truth, read, probabilities, NAMES)
    assert [(face["index"], face["label"], face["read"]) for face in found] == [
        (2, "anger", "joy"),
        (1, "joy", "anger"),
    ]
    assert [face["probability"].replace("\u00a0", " ") for face in found] == ["95.0 %", "60.0 %"]


def read_of(area, p, p_of_information=0.5, maximum=0.3):
    return {
        "identity_verification": {"matched_auc": area},
        "identity_within_expression": {"maximum": maximum, "null": 0.1, "p": p},
        "person_information": {"nats": 0.2, "null": 0.01, "p": p_of_information},
    }


@pytest.mark.parametrize(
    ("read", "words"),
    [
        (read_of(0.9, 0.005), "E tells people apart, more than by chance."),
        (read_of(0.5, 0.7, 0.048), "E tells people apart, more than by chance."),
        (read_of(0.5, 0.4), "No leak is found; that does not say that there is none."),
        (read_of(math.nan, math.nan, math.nan, math.nan), "cannot be measured on these faces: it needs people who are"),
    ],
)
def test_a_leak_is_said_to_be_found_not_found_or_not_measurable(read, words):
    answer = run_cards.leak_answer(read)
    assert words in answer and "nan" not in answer


def test_what_is_not_defined_is_a_dash():
    assert run_cards.percent(math.nan) == run_cards.number(math.nan) == run_cards.number(None) == "–"


# --- figures


def test_the_kept_epoch_is_the_first_of_the_best_and_none_where_nothing_was_validated():
    rows = [{"epoch": place, "validation_accuracy": value} for place, value in enumerate([0.2, 0.9, 0.5, 0.9])]
    assert run_figures.kept_epoch(rows) == 2
    assert run_figures.kept_epoch([{"epoch": 0, "loss": 1.0}]) is None


def test_of_many_faces_those_of_whole_people_are_shown():
    people = np.repeat(np.arange(100), 7)
    shown = run_figures.shown_people(people, 70)
    assert len(shown) == 70 and np.bincount(people[shown], minlength=100).tolist().count(7) == 10
    assert run_figures.shown_people(people[:50], 70).tolist() == list(range(50))
    assert len(run_figures.shown_people(np.zeros(500, int), 70)) == 70  # of one person


def test_each_stage_has_a_figure_with_its_quantities_and_the_kept_epoch():
    rows = [{"stage": "first", "epoch": e, "seconds": 1.0, "loss": 2.0 - e} for e in range(3)]
    rows += [{"stage": "last", "epoch": e, "validation_accuracy": 0.5 + e / 10, "note": "slow"} for e in range(2)]
    (first, one), (last, other) = run_figures.curves(rows)
    assert "stage first over 3 epochs: loss; the last epoch is kept" in first
    assert "stage last over 2 epochs: validation accuracy; epoch 2 is kept" in last
    assert "seconds" not in first + last
    assert "epoch" in drawing.svg(one) and "(share of faces)" in drawing.svg(other)


def test_a_figure_in_a_page_has_its_colours_a_name_and_ids_of_its_own():
    figures = []
    for value in (0.2, 0.4):
        figure, axis = drawing.pyplot().subplots()
        axis.scatter([value], [0.5], label="<a> & $b$")
        axis.legend()
        figures.append(drawing.svg(figure))
    assert "var(" not in figures[0] and drawing.TEXT in figures[0]  # it stands alone too
    pages = [Page(drawing.inline(picture, 'what it "shows"')) for picture in figures]
    assert pages[0].alternatives == ['what it "shows"'] and not {"style", "metadata"} & set(pages[0].tags)
    assert pages[0].ids and not set(pages[0].ids) & set(pages[1].ids)
    assert "<a> & $b$" in "".join(pages[0].words)
    text = drawing.inline(figures[0], "a")
    assert "var(--text)" in text and drawing.TEXT not in text
    used = [part.split(")")[0].split('"')[0] for part in text.replace('href="#', "url(#").split("url(#")[1:]]
    assert set(used) <= set(pages[0].ids)


def test_a_map_has_a_place_for_every_face_and_names_expressions_alone():
    codes = {"expression": np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)}
    labels = {"expression": np.repeat(NAMES, 10), "subject": np.tile(np.arange(10).astype(str), 3)}
    found = run_figures.code_maps(codes, labels, named=True)
    assert [words.partition(":")[0] for words, _ in found] == ["E by expression", "E by person"]
    assert sum(len(points.get_offsets()) for points in found[1][1].axes[0].collections) == 30
    assert "joy" in drawing.svg(found[0][1]) and len(run_figures.code_maps(codes, labels, named=False)) == 1
