import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from trainer.evaluation.metrics.statistics import DRAWN
from trainer.evaluation.reporting.tables import (
    MARK,
    Cell,
    Column,
    Row,
    Table,
    from_json,
    to_html,
    to_json,
    to_latex,
    to_markdown,
)

MEASURED = Cell(0.995, 0.9123, 0.0134, 30, (0.891, 0.93), "not reproduced")
STAND_IN = Cell(0.911, 0.8, 0.02, 10, (0.75, 0.85), DRAWN, drawn=True, needs="Oulu-CASIA in data/oulu")
ONCE = Cell(0.592, -0.11, runs=1, verdict="not distinguishable")
ABSENT = Cell(0.418, needs="RAF_DB & a licence")
HARD = r"a_b <i> & 5% | $x$ #1 {y [z] *w* ~^\ ` é"
TABLE = Table(
    name="dice-fer/table_1", title=f"Accuracy, {HARD}", heading="method",
    columns=(Column("CK+"), Column("MIG", percent=False, decimals=3)),
    rows=(Row(HARD, (MEASURED, ONCE)), Row("stand-in", (STAND_IN, ABSENT)), Row("ours alone", (Cell(), Cell()))),
    notes=(HARD,),
)  # fmt: skip
FORMS = {"markdown": to_markdown, "html": to_html, "latex": to_latex}
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


class Page(HTMLParser):
    """What a browser makes of a fragment: the words, and the cells of every row."""

    def __init__(self, text):
        super().__init__()
        self.words, self.cells, self.tags, self.open = [], [], set(), []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, _):
        self.tags.add(tag)
        self.open += [tag] if tag != "br" else []
        if tag == "tr":
            self.cells.append(0)
        if tag in ("td", "th"):
            self.cells[-1] += 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, words):
        self.words.append(words)


def one(cell, column=TABLE.columns[0]):
    return replace(TABLE, title="t", notes=(), columns=(column,), rows=(Row("r", (cell,)),))


def test_a_table_comes_back_from_its_json():
    assert from_json(to_json(TABLE)) == TABLE
    assert json.loads(to_json(TABLE))["rows"][0]["cells"][0]["interval"] == [0.891, 0.93]


def test_a_number_that_is_not_finite_is_not_written():
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json(one(replace(MEASURED, mean=float("nan"))))


def test_a_measured_cell_shows_value_spread_runs_interval_printed_difference_and_verdict():
    words = Page(to_html(one(MEASURED))).words
    for shown in (
        "91.23 ± 1.34 (30 runs)",
        "95 %: 89.10 to 93.00",
        "printed 99.50, difference −8.27",
        "not reproduced",
    ):
        assert shown in words


def test_one_run_shows_that_it_is_one_and_that_it_has_no_interval():
    words = Page(to_html(one(ONCE, TABLE.columns[1]))).words
    assert "−0.110 (1 run)" in words and "95 %: no interval" in words


@every_form
def test_a_cell_that_is_not_run_says_what_it_needs(form):
    text = form(one(replace(ABSENT, needs="the images")))
    assert "not run" in text and "needs the images" in text and "difference" not in text and "±" not in text


@every_form
def test_every_drawn_cell_is_marked_and_has_no_difference(form):
    mark = r"$^\dagger$" if form is to_latex else MARK
    drawn = [STAND_IN, replace(STAND_IN, printed=None, verdict=""), Cell(drawn=True), Cell(0.9, drawn=True, needs="x")]
    for cell in drawn:
        text = form(one(cell))
        assert text.count(mark) == 2 and f"{mark} drawn faces, not the dataset" in text  # in the cell and below
        assert "difference" not in text
    assert mark not in form(one(MEASURED))


def test_html_shows_names_as_they_are_and_is_well_formed():
    page = Page(to_html(TABLE))
    assert page.words.count(HARD) == 2 and f"Accuracy, {HARD}" in page.words
    assert page.cells == [3, 3, 3, 3, 3] and "i" not in page.tags and "style" not in to_html(TABLE)


def test_markdown_keeps_its_columns_and_takes_no_name_for_markup():
    text = to_markdown(TABLE)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {4} and len(lines) == 5
    plain = re.sub(r"\\.", "", text.replace("<br>", "").replace("**Accuracy", "", 1))
    assert not re.findall(r"[`_~$\[\]<]|(?<!\*)\*(?!\*)", plain)


def test_latex_balances_its_braces_and_keeps_its_columns():
    text = to_latex(TABLE)
    bare = re.sub(r"\\[&%$#_{}]", "", text)
    depth = 0
    for brace in re.findall(r"[{}]", bare):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    assert depth == 0 and bare.count("$") % 2 == 0
    assert re.findall(r"\\begin{(\w+)}", text)[::-1].count("tabular") == text.count(r"\end{tabular}")
    rows = text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().split("\n")
    assert [re.sub(r"\\[&]", "", row).count("&") for row in rows] == [2, 2, 2] and r"\begin{tabular}{lll}" in text
    assert not re.findall(r"[%#_~<>|]|(?<!\\)\^", re.sub(r"\\label{\S*}|\$\^\\dagger\$", "", bare))


def test_latex_takes_no_line_for_the_argument_of_a_line_break():
    text = to_latex(one(replace(ABSENT, needs="[3pt] *")))
    assert not re.findall(r"\\\\\s*[\[*]", text.replace("needs ", "")) and "{[}3pt] {*}" in text


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"printed": 0.9}, "0.9 is printed and not run; say what is needed"),
        ({"mean": 0.9, "runs": 3}, "mean 0.9 with spread None of 3 runs"),
        ({"mean": 0.9}, "mean 0.9 with spread None of 0 runs"),
        ({"mean": 0.9, "spread": 0.1, "runs": 1}, "one run has no spread"),
        (
            {"mean": 0.9, "spread": 0.1, "runs": 2, "interval": (-1.14, 1.13)},
            r"interval \(-1.14, 1.13\) over 2 runs; it takes 3",
        ),
    ],
)
def test_a_bare_value_is_refused(values, words):
    with pytest.raises(ValueError, match=words):
        Cell(**values)


def test_an_interval_over_two_runs_that_an_earlier_version_wrote_is_left_out_and_one_over_people_is_kept():
    of_people = Cell(mean=0.9, spread=0.1, runs=2, interval=(0.8, 1.0), interval_over="people")
    written = to_json(one(of_people))
    assert from_json(written).rows[0].cells == (of_people,)
    (read,) = from_json(written.replace('"people"', '"runs"')).rows[0].cells
    assert read.interval is None and (read.mean, read.runs) == (0.9, 2)


def test_what_is_counted_speaks_of_no_interval():
    counted = replace(TABLE.columns[0], name="steps", percent=False, counted=True)
    text = to_html(one(Cell(mean=10.0, spread=1.0, runs=2), counted))
    assert "interval" not in text and "Mean ± sample standard deviation over runs." in text


def test_a_stand_in_cannot_reproduce():
    with pytest.raises(AssertionError, match="not comparable: drawn faces"):
        replace(STAND_IN, verdict="reproduced")


QUOTED = Cell(0.98, quoted=True, printed_decimals=0)


@every_form
def test_a_quoted_number_stands_as_printed_and_needs_nothing(form):
    text = form(one(QUOTED))
    assert "printed 98" in text and "98.00" not in text and "needs" not in text and "not run" not in text


@every_form
def test_measured_rows_come_first_then_quoted_then_those_not_run(form):
    rows = (Row("absent", (ABSENT,)), Row("quoted", (QUOTED,)), Row("measured", (MEASURED,)))
    text = form(replace(TABLE, title="t", columns=TABLE.columns[:1], rows=rows, notes=()))
    assert text.index("measured") < text.index("quoted") < text.index("absent")


def test_html_folds_what_was_not_run_and_all_where_nothing_was():
    rows = (Row("measured", (MEASURED,)), Row("absent", (ABSENT,)))
    text = to_html(replace(TABLE, columns=TABLE.columns[:1], rows=rows))
    assert text.index("measured") < text.index("<details>") < text.index("absent")
    nothing = to_html(replace(TABLE, columns=TABLE.columns[:1], rows=rows[1:]))
    assert nothing.count("<details>") == 2 and "Nothing of this was run here" in nothing
    assert Page(nothing).cells == [2, 2]


@every_form
def test_what_made_a_table_is_its_last_sentence(form):
    made = {"date": "2026-11-30", "commit": "abc", "processor": {"model": "A 1", "instruction_set": "AVX2"},
            "threads": 2, "options": {"folds": "1,2"}, "code": None}  # fmt: skip
    text = form(replace(one(MEASURED), made=made))
    assert "2026-11-30 at commit abc on A 1 (AVX2, 2 threads), with folds=1,2. The code that trained" in text
