from manifest_files import copy_manifest, with_column
from small_runs import CPU, run_spec, silent

from fertools.folds.make_folds import make_folds
from manifests import files
from trainer.evaluation import submission
from trainer.training.fit import fit


def test_a_runs_own_predictions_are_given_its_own_scores(patterns, tmp_path):
    manifest = copy_manifest(patterns, tmp_path / "manifests" / "set.parquet")
    with_column(manifest, "gender", ["female" if row % 12 < 6 else "male" for row in range(48)])
    make_folds(manifest, 4, "standardize", seed=0)
    run = fit(run_spec(manifest, "resnet"), tmp_path / "runs", CPU, silent)
    faces, recorded = files.read(manifest), run.read_json("scores.json")
    scores = submission.judge(submission.read(run.folder / "predictions.parquet", faces), manifest, faces, fold=1)
    for what in ("classification", "calibration", "fairness", "people"):
        assert scores[what] == recorded[what]
