"""Every pair of writing commands started at one moment, many times: is a file corrupt, or a mixture of two makers'?

Two processes that have imported everything wait for one another, then each runs its command. One of them may be
refused, with a sentence and exit code 1; afterwards the manifest is whole, its pairs are of its folds, its whitening of
its faces, and no temporary file is left. A run is compared byte for byte with that of a training alone.

    python benchmarks/two_writers.py --work FOLDER --rounds 50
"""

import argparse
import base64
import contextlib
import importlib.metadata
import io
import json
import multiprocessing
import shutil
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations_with_replacement
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

REFUSAL = "is being written by"
# An ONNX model without weights: the mean of each quarter of a grey face of 16 x 16 pixels.
EMBEDDER = (
    "eNrj4LBqY+Sy4WKsEGIsUOJ2LEstSkxPDcjPz9ES5eLJTi3KS82JL85ILEh14HDgWMDIriXAxV5cUpSZkloMFeHi52IsEGKsVGJ3y0ksKUnNE2"
    "IsjJIBmSjOJcrBKCTIxSzEmMfFxMEIxAIgnCTCxVgpxM/FC5TlhMmyOLFwMQjwAgBuYRr7"
)
DATASET = "affectnet"  # whose authors publish landmarks: nothing need be detected
CODE = (
    "manifests",
    "fertools/preparation",
    "fertools/folds",
    "fertools/folds/identities",
    "trainer/runs",
    "trainer/training",
)
SETTINGS = ("width=4", "code_size=8", "batch_size=12")
FIT = ["--method", "resnet", "--preset", "demo", "--epochs", "2", "--side-by-side", "1", "--device", "cpu"]
RUN = "affectnet-resnet-demo-width=4-code_size=8-batch_size=12-epochs=2-fold01-seed0"


def _obey(pipe: Connection, meet: Any) -> None:
    """Run the commands that come through a pipe, each when the other process is ready for its own."""
    import fertools.cli
    import fertools.folds.identities.group
    import fertools.folds.make_folds
    import fertools.preparation.prepare  # noqa: F401 - so that a command begins with its work
    import trainer.cli.main
    import trainer.experiments.jobs  # noqa: F401

    apps = {"fertools": fertools.cli.app, "trainer": trainer.cli.main.app}
    pipe.send(None)
    while words := pipe.recv():
        told = io.StringIO()
        meet.wait()
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
            try:
                apps[words[0]](words[1:])
            except SystemExit as end:
                code = end.code
            except BaseException as bug:
                code = repr(bug)
        pipe.send((code, told.getvalue()))


@contextmanager
def two_processes() -> Iterator[Any]:
    """Yield what runs two commands at one moment and returns (exit code, output) of each."""
    context = multiprocessing.get_context("spawn")
    meet, pipes = context.Barrier(2), [context.Pipe() for _ in range(2)]
    workers = [context.Process(target=_obey, args=(there, meet)) for _, there in pipes]
    for worker in workers:
        worker.start()
    for here, there in pipes:
        there.close()  # the worker's alone now: where it dies, `recv` ends
        here.recv()

    def run(*commands: list[str]) -> list[tuple[Any, str]]:
        for (here, _), command in zip(pipes, commands, strict=True):
            here.send(command)
        return [here.recv() for here, _ in pipes]

    try:
        yield run
    finally:
        for here, _ in pipes:
            here.send([])
        for worker in workers:
            worker.join()


def prepared(work: Path) -> Path:
    """Draw a few people and prepare them; return the folder of manifests."""
    from fertools.cli import app

    raw, manifests = work / "raw", work / "manifests"
    (work / "quarters.onnx").write_bytes(zlib.decompress(base64.b64decode(EMBEDDER)))
    for line in (
        ["draw", DATASET, "--raw", str(raw), "--subjects", "20"],
        manifest_commands(work)["prepare"][0][1:],
        manifest_commands(work)["make-folds"][0][1:],
    ):
        app(line, standalone_mode=False)
    return manifests


def manifest_commands(work: Path) -> dict[str, list[list[str]]]:
    """Return each command that writes a manifest, in two ways, so that each time there is something to write."""
    where = ["--manifests", str(work / "manifests")]
    prepare = ["fertools", "prepare", DATASET, "--raw", str(work / "raw"), "--landmarks", "published", "--workers", "1"]
    group = ["fertools", "group", DATASET, "--embedder", str(work / "quarters.onnx"), "--device", "cpu"]
    folds, ways = (
        ["fertools", "make-folds", DATASET, *where],
        (["--num-folds", "4", "--whiten", "zca"], ["--seed", "1"]),
    )
    return {
        "prepare": [[*prepare, *where, "--overwrite", *own] for own in ([], ["--color", "rgb"])],
        "make-folds": [[*folds, *own] for own in ways],
        "group": [[*group, *where, "--threshold", level] for level in ("0.3", "0.5")],
    }  # fmt: skip


def run_commands(work: Path) -> dict[str, list[list[str]]]:
    """Return each command that writes a run."""
    settings = [word for name in SETTINGS for word in ("--set", name)]
    where = ["--manifests", str(work / "manifests"), "--runs", str(work / "runs")]
    fit = ["trainer", "fit", *FIT, *settings, *where]
    evaluate = ["trainer", "evaluate", str(work / "runs" / RUN), *where[:2], "--device", "cpu"]
    return {"fit": [fit] * 2, "evaluate": [evaluate] * 2}


def wrong_in_manifest(manifests: Path) -> list[str]:
    """Return what is wrong with a manifest: it does not read, or holds parts of two makers."""
    from manifests import files, schema

    manifest, wrong = manifests / "affectnet.parquet", []
    try:
        faces, metadata = files.read(manifest, images=True), files.read_metadata(manifest)
        if "folds" in metadata:
            for fold in range(1, schema.num_folds(faces) + 1):
                files.read_pairs(manifest, fold, faces)
                if metadata["whitening"]["kind"] == "zca":
                    files.read_whitening(manifest, fold, faces)
    except Exception as error:
        wrong.append(repr(error))
    return wrong + _left(manifests)


def _left(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.name.endswith((".part", ".lock"))]


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Return what a run comes to."""
    names = ("config.json", "weights.safetensors", "predictions.parquet", "scores.json")
    return {name: (folder / name).read_bytes() for name in names if (folder / name).exists()}


def judged(results: list[tuple[Any, str]], wrong: list[str]) -> dict[str, Any]:
    """Return what came of a pair of commands."""
    bad = [told for code, told in results if code != 0 and (code != 1 or REFUSAL not in told or "Traceback" in told)]
    return {"refused": sum(REFUSAL in told for _, told in results), "wrong": [*wrong, *bad],
            "done": sum(code == 0 for code, _ in results)}  # fmt: skip


def manifest_pairs(work: Path, run: Any, rounds: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield each pair of commands that write a manifest, with what came of its rounds."""
    commands = manifest_commands(work)
    for one, other in combinations_with_replacement(commands, 2):
        found = []
        for _ in range(rounds):
            for first, second in ((0, 1), (1, 0)):
                results = run(commands[one][first], commands[other][second])
                found.append(judged(results, wrong_in_manifest(work / "manifests")))
        yield f"{one} and {other}", found


def run_pairs(work: Path, run: Any, rounds: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield each pair of commands that write one run, with what came of its rounds."""
    commands, runs = run_commands(work), work / "runs"
    from trainer.cli.main import app

    app(commands["fit"][0][1:], standalone_mode=False)
    alone = bytes_of(runs / RUN)
    for one, other in combinations_with_replacement(commands, 2):
        found = []
        for _ in range(rounds):
            if one == other == "fit":
                shutil.rmtree(runs / RUN)
            results = run(commands[one][0], commands[other][1])
            now = bytes_of(runs / RUN)
            found.append(judged(results, [name for name in alone if now.get(name) != alone[name]] + _left(runs)))
        yield f"{one} and {other}", found


def main() -> None:
    """Measure, print, write."""
    from trainer.runs.made_by import made_by

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="an empty folder")
    parser.add_argument("--rounds", type=int, default=50, help="of each pair")
    parser.add_argument("--out", type=Path, default=Path("docs/results/two_writers.json"))
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True)
    pairs, started = {}, time.perf_counter()
    with two_processes() as run:
        prepared(arguments.work)
        folds = manifest_commands(arguments.work)["make-folds"][0]
        for every, rounds in ((manifest_pairs, arguments.rounds // 2), (run_pairs, arguments.rounds)):
            for name, found in every(arguments.work, run, rounds):
                total = Counter({key: sum(one[key] for one in found) for key in ("done", "refused")})
                pairs[name] = {"rounds": len(found), **total, "wrong": [one["wrong"] for one in found if one["wrong"]]}
                print(name, json.dumps(pairs[name]), flush=True)
            run(folds, ["fertools", "protocols"])  # prepare and group have dropped or changed them
    made = {
        "made": made_by({"rounds": arguments.rounds}, parts=CODE),
        "versions": {name: importlib.metadata.version(name) for name in ("filelock", "pyarrow", "torch")},
        "command": f"python benchmarks/two_writers.py --work FOLDER --rounds {arguments.rounds}",
        "seconds": round(time.perf_counter() - started), "pairs": pairs,
    }  # fmt: skip
    arguments.out.write_text(json.dumps(made, indent=1) + "\n")
    print(arguments.out)


if __name__ == "__main__":
    main()
