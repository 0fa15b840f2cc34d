import numpy as np
import pytest
from html_pages import check_page
from small_runs import CPU, run_spec, silent

from trainer.evaluation.reporting import comparison, comparison_page
from trainer.runs.run import Run, RunError
from trainer.training.fit import fit

CLASSIFICATION = {"faces": 10, "correct": 8, "accuracy": 0.8, "macro_f1": 0.7}


def finished(folder, fold, accuracy, chance=0.1, method="resnet", area=0.5):
    run = Run(folder / f"set-{method}-demo-fold{fold:02d}-seed0")
    run.folder.mkdir(parents=True)
    run.write_json("config.json", {"dataset": "set", "method": method, "fold": fold, "seed": 0})
    run.write_json("provenance.json", {"device": "cpu: x"})
    probe = {"accuracy": 0.3, "chance": chance, "maximum": 0.3}
    codes = {
        "expression": {
            "expression_probe": probe,
            "identity_probe": probe,
            "identity_verification": {"matched_auc": area},
        }
    }
    classification, faces = CLASSIFICATION | {"accuracy": accuracy}, {"train": 90, "test": 10}
    run.write_json("scores.json", {"classification": classification, "codes": codes, "faces": faces})
    return run


def test_a_table_gives_mean_sample_spread_and_number_of_runs(tmp_path):
    (group,) = comparison.table([finished(tmp_path, fold, accuracy) for fold, accuracy in ((1, 0.7), (2, 0.9))])
    assert (group["count"], group["pooled"], group["folds"]) == (2, "16/20", [1, 2])
    assert group["mean"]["accuracy"] == pytest.approx(0.8)
    assert group["spread"]["accuracy"] == pytest.approx(0.2 / 2**0.5)  # of a sample: n - 1
    assert "0.800 +- 0.141" in comparison.markdown([group])


def test_scores_by_group_of_people_are_shown_where_runs_have_them(tmp_path):
    runs = [finished(tmp_path, fold, 0.8) for fold in (1, 2)]
    assert comparison.by_group_texts(runs) == []
    scores = {"faces": 40, "people": 40, "accuracy": 0.7, "accuracy_interval": None}
    scores |= {"macro_recall": 0.6, "macro_recall_interval": None}
    told = runs[0].read_json("scores.json") | {
        "fairness": {"race": {"unknown": 0, "groups": {"x": scores}, "gaps": None}}
    }
    runs[0].write_json("scores.json", told)
    (text,) = comparison.by_group_texts(runs)
    assert "set resnet" in text and "accuracy 0.700, macro recall 0.600; 1 runs of 40 faces" in text


def test_one_run_has_no_spread(tmp_path):
    (group,) = comparison.table([finished(tmp_path, 1, 0.7)])
    assert group["spread"]["accuracy"] is None and "0.700 |" in comparison.markdown([group])


def test_runs_of_other_settings_are_not_averaged(tmp_path):
    one, other = finished(tmp_path, 1, 0.7), finished(tmp_path, 2, 0.9)
    renamed = other.folder.with_name("set-resnet-demo-width=8-fold02-seed0")
    other.folder.rename(renamed)
    assert [group["count"] for group in comparison.table([one, Run(renamed)])] == [1, 1]


# --- whether two differ


def test_two_methods_are_compared_on_the_folds_that_both_have(patterns, tmp_path):
    runs = [fit(run_spec(patterns, name, fold=fold), tmp_path, CPU, silent)
            for name, folds in (("cross_entropy", (1, 2, 3)), ("resnet", (2, 3))) for fold in folds]  # fmt: skip
    (found,) = comparison.comparisons(runs)
    assert found["runs"] == 2
    accuracy = {(run.folder.name.split("-")[1], run.read_json("config.json")["fold"]):
                run.read_json("scores.json")["classification"] for run in runs}  # fmt: skip
    differences = [
        accuracy["cross_entropy", fold]["accuracy"] - accuracy["resnet", fold]["accuracy"] for fold in (2, 3)
    ]
    assert found["differences"]["accuracy"]["mean"] == pytest.approx(np.mean(differences))
    told = found["mcnemar"]
    right = {name: sum(accuracy[name, fold]["correct"] for fold in (2, 3)) for name in ("cross_entropy", "resnet")}
    assert told["only_first"] - told["only_second"] == right["cross_entropy"] - right["resnet"]
    text = comparison_page.write(runs, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "2 paired runs" in text and "McNemar" in text and "2 paired runs" in page
    assert all(
        "interval" not in difference for difference in found["differences"].values()
    )  # of two runs there is none
    (words,) = [words for words in check_page(page).alternatives if words.startswith("accuracy, less")]
    found = accuracy["resnet", 2]["accuracy"] + accuracy["resnet", 3]["accuracy"]
    found -= accuracy["cross_entropy", 2]["accuracy"] + accuracy["cross_entropy", 3]["accuracy"]
    less = f" {found / 2:+.3f}, no interval".replace("-", "\u2212")
    assert words.endswith(less)  # the second less the first
    assert all(f'href="{run.folder.name}/report.html"' in page for run in runs)


def test_runs_without_a_common_fold_are_not_compared(patterns, tmp_path):
    runs = [fit(run_spec(patterns, "resnet", fold=1), tmp_path, CPU, silent),
            fit(run_spec(patterns, "resnet", "weight_decay=0", fold=2), tmp_path, CPU, silent)]  # fmt: skip
    assert comparison.comparisons(runs) == []


@pytest.mark.parametrize(("num", "has_interval"), [(1, False), (2, False), (3, True), (5, True)])
def test_a_difference_has_an_interval_from_three_pairs_on_and_none_leaves_what_can_be(num, has_interval, tmp_path):
    gains = np.array([0.0, 1.0, 0.9, 0.1, 0.6])[:num]  # so wide that Student's interval is wider than shares allow
    pairs = [(finished(tmp_path, fold, gain, method="supcon"), finished(tmp_path, fold, 0.0))
             for fold, gain in enumerate(gains.tolist(), 1)]  # fmt: skip
    found = comparison.differences(pairs)["accuracy"]
    assert found["mean"] == pytest.approx(gains.mean()) and ("interval" in found) == has_interval
    if has_interval:
        low, high = found["interval"]
        assert -1 <= low <= found["mean"] <= high <= 1


def test_a_score_that_no_run_has_is_one_line_of_a_page(tmp_path):
    runs = [finished(tmp_path, fold, 0.8, method=method, area=float("nan"))
            for fold in (1, 2) for method in ("resnet", "supcon")]  # fmt: skip
    groups = {"set resnet demo": runs[::2], "set supcon demo": runs[1::2]}
    text = comparison_page.page("Runs", groups, [], "", tmp_path)
    page = check_page(text)
    assert "Not defined on these faces: identity told apart by E, AUC." in text
    assert len(page.alternatives) == 1 + 3 and not any("told apart" in words for words in page.alternatives)
    assert comparison.cell_text(float("nan"), float("nan")) == "not defined"


def test_links_lead_to_the_runs_wherever_their_folder_is(tmp_path):
    run = finished(tmp_path / "a #1", 1, 0.8)
    page = check_page(comparison_page.page("Runs", {"set": [run]}, [], "", tmp_path / "out"))
    assert page.addresses == ["../a%20%231/set-resnet-demo-fold01-seed0/report.html"]


def test_scores_of_an_older_version_ask_to_be_judged_again(tmp_path):
    with pytest.raises(RunError, match="has no faces, shown: it was judged by an older version; .* trainer evaluate"):
        finished(tmp_path, 1, 0.7).value("scores.json", "faces", "shown")
