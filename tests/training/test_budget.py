"""What a run writes of its budget: counted by hand, the same whether it was interrupted or not."""

import dataclasses
import math

from small_runs import CPU, cut_short, run_spec, silent

from trainer.data.fold_data import FoldData
from trainer.training import fit as library

COUNTED = ("steps", "faces", "updates")


def stages_of(run):
    return run.read_json("provenance.json")["budget"]


def counts(run):
    return {stage: [taken[name] for name in COUNTED] for stage, taken in stages_of(run).items()}


def test_steps_faces_and_updates_are_those_of_the_stages(patterns, tmp_path):
    run = library.fit(run_spec(patterns, "dicefer", "discriminator_steps=2"), tmp_path, CPU, silent)
    num = len(FoldData(patterns, 1, CPU).rows["train"])
    steps = 2 * math.ceil(num / 12)  # 2 epochs, batches of 12
    assert counts(run) == {
        "expression": [steps, 2 * 2 * num, steps],
        "identity": [steps, 2 * 2 * num, 3 * steps],  # a step of the encoder, two of the discriminator
        "classifier": [steps, 2 * num, steps],
    }
    assert [taken["trains_code"] for taken in stages_of(run).values()] == [1, 0, 0]
    assert all(taken["processor_seconds"] > 0 for taken in stages_of(run).values())
    scores = run.read_json("scores.json")["budget"]
    assert [scores[name] for name in COUNTED] == counts(run)["expression"]
    assert scores["settings_tried"] == 33


def test_what_moves_the_code_counts(patterns, tmp_path):
    run = library.fit(run_spec(patterns, "dicefer", "joint=true", "finetuned=true"), tmp_path, CPU, silent)
    assert [taken["trains_code"] for taken in stages_of(run).values()] == [1, 1, 1]
    total = [sum(column) for column in zip(*counts(run).values(), strict=True)]
    assert [run.read_json("scores.json")["budget"][name] for name in COUNTED] == total


def test_an_interrupted_run_has_the_budget_of_one_that_was_not(patterns, tmp_path):
    whole = library.fit(run_spec(patterns, "resnet"), tmp_path / "whole", CPU, silent)
    for _ in range(4):
        run = cut_short(run_spec(patterns, "resnet"), tmp_path / "cut", steps=1)
    run = library.fit(run_spec(patterns, "resnet"), tmp_path / "cut", CPU, silent)
    assert counts(run) == counts(whole)


def test_stages_that_were_taken_over_count_too(patterns, tmp_path):
    base = library.fit(run_spec(patterns, "dicefer"), tmp_path, CPU, silent)
    spec = dataclasses.replace(run_spec(patterns, "dicefer", "adversarial_weight=0.5"), start=base.folder)
    branch = library.fit(dataclasses.replace(spec, stage="identity"), tmp_path, CPU, silent)
    assert counts(branch) == counts(base)
