"""Operations on what somebody has edited or a disk has damaged: how does each of them end?

One change at a time is made to a small prepared set, or to what was made of it; then one command reads it, in this
process. It ends well with the answer that it gives without the change, or with a sentence. A traceback is a bug, and
another answer without a word silent damage. Commands that write files are judged by these, others by what they print.

    PYTHONPATH=tests python benchmarks/operations.py --work FOLDER
"""

import argparse
import base64
import hashlib
import json
import math
import shutil
import traceback
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import two_writers
from PIL import Image
from small_runs import CPU, cut_short, judged_quickly, run_spec, silent
from typer.testing import CliRunner

import fertools.cli
import trainer
import trainer.cli.main
from fertools.datasets import DATASETS
from fertools.datasets.base import Sample
from fertools.drawn.corpus import draw
from fertools.errors import FertoolsError
from fertools.preparation.prepare import prepare
from manifests.atomic import write_atomic
from manifests.errors import ManifestError
from trainer.errors import TrainerError
from trainer.runs.made_by import made_by
from trainer.training.fit import RunSpec, fit

RIGHT, SENTENCE, TRACEBACK, SILENT = "right answer", "sentence", "traceback", "silent damage"
CODE = ("manifests", "fertools", "trainer/runs", "trainer/data", "trainer/training", "trainer/inference", "trainer/cli")
REFUSALS = (FertoolsError, ManifestError, TrainerError)
SET, NAN, INF = "manifests/affectnet", math.nan, math.inf


@dataclass(frozen=True)
class Operation:
    """A command by its words, or a function that returns what it would print; and what it writes, as patterns."""

    run: str | Callable[[Path], str]
    writes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """How an operation ended: what it gave, as a hash; whether it refused or named a damage; the bug, if it is one."""

    sha256: str
    refused: bool
    bug: str


def spec(here: Path) -> RunSpec:
    """Return the run that is trained."""
    return run_spec(here / f"{SET}.parquet", "resnet", "epochs=2")


def _fit(here: Path) -> str:
    return fit(spec(here), here / "runs", CPU, silent).folder.name


def _load(name: str) -> Callable[[Path], str]:
    """Return what loads a run or an exported model, and shows it faces."""

    def load(here: Path) -> str:
        (folder,) = here.glob(name)
        faces = np.random.default_rng(0).integers(0, 256, (4, 144, 144), np.uint8)
        return trainer.load(folder, "cpu", here / "manifests").predict(faces).probabilities.tobytes().hex()

    return load


ONE = "trainer {} {{run}} --manifests {{here}}/manifests"
OPERATIONS = {
    "prepare": Operation(
        "fertools prepare affectnet --raw {raw} --landmarks published --workers 1", (f"{SET}.parquet", f"{SET}.faces/*")
    ),
    "make-folds": Operation(
        "fertools make-folds --num-folds 3 --whiten zca", (f"{SET}.parquet", f"{SET}.pairs.parquet", f"{SET}.whiten*/*")
    ),
    "group": Operation(
        "fertools group affectnet --embedder {raw}/quarters.onnx --device cpu --threshold 0.5", (f"{SET}.parquet",)
    ),
    "show": Operation("fertools show affectnet --out {here}/sheet.png", ("sheet.png",)),
    "audit": Operation("fertools audit affectnet"),
    "verify": Operation("fertools verify --manifest affectnet"),
    "diff": Operation("fertools diff {raw}/../world/manifests/affectnet.parquet affectnet"),
    "export pixels": Operation("fertools export affectnet --format folder --pixels --out {here}/out", ("out/**/*",)),
    "export a fold": Operation("fertools export affectnet --format hf --fold 1 --out {here}/out", ("out/**/*",)),
    "fit": Operation(_fit, tuple(f"runs/*/{name}" for name in ("config.json", "weights*", "pred*", "scores.json"))),
    "evaluate": Operation(ONE.format("evaluate"), ("runs/*/scores.json", "runs/*/predictions.parquet")),
    "export": Operation(ONE.format("export") + " --out {here}/out", ("out/*.safetensors", "out/*.json")),
    "report": Operation("trainer report {run}"),
    "load": Operation(_load("runs/*")),
    "load a model": Operation(_load("model")),
}  # fmt: skip
ON_MANIFESTS = [name for name in OPERATIONS if name not in ("report", "load a model")]
READERS = ("verify", "audit", "show", "diff", "make-folds", "export pixels", "export a fold")


def ended(name: str, here: Path, raw: Path) -> Answer:
    """Return how an operation ends."""
    operation, told, refused, code = OPERATIONS[name], "", False, 0
    run = next(here.glob("runs/*"), here / "runs/none")
    try:
        if isinstance(operation.run, str):
            app, *words = operation.run.format(here=here, raw=raw, run=run).split()
            if app == "fertools":
                words += ["--manifests", str(here / "manifests")]
            cli = {"fertools": fertools.cli.app, "trainer": trainer.cli.main.app}[app]
            found = CliRunner().invoke(cli, words)
            if not isinstance(found.exception, SystemExit | None):
                raise found.exception
            told, code = found.stdout, found.exit_code
            refused = "error: " in found.stderr or (
                code == 1 and name in ("verify", "diff")
            )  # which name what they find
        else:
            told = operation.run(here)
    except REFUSALS as error:
        refused, code = True, 1
        assert "\n" not in str(error)
    except Exception as error:
        return Answer("", False, "".join(traceback.format_exception(error)[-3:]))
    given = hashlib.sha256(f"{code}".encode())
    for path in sorted(path for pattern in operation.writes for path in here.glob(pattern) if path.is_file()):
        given.update(f"{path.relative_to(here)}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    return Answer((given if operation.writes else hashlib.sha256(f"{code}{told}".encode())).hexdigest(), refused, "")


# --- changes


def _with(name: str, value: Any) -> Callable[[pa.Table], pa.Table]:
    """Return what writes a value into the first row of a column, or into the metadata."""

    def change(table: pa.Table) -> pa.Table:
        if name.startswith("metadata."):
            key = name.removeprefix("metadata.").encode()
            return table.replace_schema_metadata(dict(table.schema.metadata) | {key: json.dumps(value).encode()})
        at = table.column_names.index(name)
        column = pa.array([value, *table[name].to_pylist()[1:]], table.schema.field(at).type)
        return table.set_column(at, table.schema.field(at), column)

    return change


def _as_text(table: pa.Table) -> pa.Table:
    return table.set_column(table.column_names.index("score"), "score", table["score"].cast(pa.string()))


EDITS = {  # 45
    **{f"{name} {value}": _with(name, value) for name, values in {
        "fold": (-1, 0, 127), "score": (NAN, INF, -0.1, 1.5), "box": ([NAN, 0, 1, 1], [INF, 0, 1, 1]),
        "landmarks": ([NAN] * 10,), "matrix": ([INF] * 6,), "frame": (-1,), "expression": ("joy", ""),
        "usable": (False,), "face_id": ("another",), "metadata.manifest_version": (99, 2),
        "metadata.folds": (7, [], {"num_folds": -1}, {"num_folds": "4"}, {"num_folds": 4.5}),
        "metadata.crop": (None, "x", {"size": 7}, {"sides": 7}, {"size": "128"}, {"size": [128]}),
        "metadata.faces": (None, 3, [3], [{}], [{"name": "../../etc/passwd", "rows": 48}]),
        "metadata.whitening": (0, {"kind": "pca"}, {"kind": None}), "metadata.summary": (0, {}, {"drawn": "no"}),
        "metadata.groups": (0, {"embeddings": 7}),
    }.items() for value in values},
    "no column score": lambda table: table.drop_columns("score"), "score is text": _as_text,
    "last row gone": lambda table: table.slice(0, len(table) - 1),
}  # fmt: skip
SPOILED = {
    "gone": None, "empty": b"", "half": 0.5, "a list": b"[]", "null": b"null",
}  # fmt: skip
OF_A_RUN = [f"{name}.json" for name in ("config", "provenance", "scores")]
OF_A_RUN += ["metrics.jsonl", "weights.safetensors", "predictions.parquet"]
FLIPS = [  # what, files, where, how many, read by, in which state of the world
    ("footers of manifests", f"{SET}.parquet", "footer", 300, READERS, "world"),
    ("bodies of crops", f"{SET}.faces/*", "body", 300, ("verify", "export pixels", "show", "group"), "world"),
    ("manifests", f"{SET}.parquet", "any", 150, READERS, "world"),
    ("footers of crops", f"{SET}.faces/*", "footer", 80, ("verify", "export pixels", "show", "group"), "world"),
    ("pairs", f"{SET}.pairs.parquet", "any", 80, ("make-folds", "export a fold", "verify", "evaluate"), "world"),
    ("whitening", f"{SET}.whitening/*01*", "any", 80, ("make-folds", "verify", "evaluate", "load"), "world"),
    ("ledgers", "manifests/.*.ledger-*", "any", 60, ("prepare",), "world"),
    ("embeddings", f"{SET}.embeddings/*", "any", 60, ("group", "verify", "audit"), "world"),
    ("chunks of a preparation", "manifests/.affectnet.parts/*", "any", 60, ("prepare",), "prepared by half"),
    ("checkpoints", "runs/*/checkpoint.safetensors", "any", 60, ("fit",), "trained by half"),
    *((name, f"runs/*/{name}", "any", 40, ("evaluate", "report", "export", "load"), "world") for name in OF_A_RUN),
    ("exported models", "model/[cm]*", "any", 60, ("load a model",), "world"),
]  # fmt: skip


def flip(path: Path, where: str, rng: np.random.Generator) -> None:
    """Flip one bit of a file: of a Parquet file's footer, of its pages, or anywhere."""
    data = bytearray(path.read_bytes())
    end = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    first, last = {"footer": (end, len(data)), "body": (0, end), "any": (0, len(data))}[where]
    data[rng.integers(first, last)] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)


def spoil(path: Path, how: bytes | float | None) -> None:
    """Remove a file, cut it to a share of its length, or write something else."""
    if how is None:
        path.unlink()
    else:
        path.write_bytes(how if isinstance(how, bytes) else path.read_bytes()[: int(path.stat().st_size * how)])


def edit(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Write a changed table as others write Parquet: without checks, without a seal."""
    pq.write_table(change(pq.read_table(path)), path)


# --- label tables

LINES = [  # between two sound rows; each is a row that is refused, or an image that is there
    "", ",", ",,,,,,,,", "3.png", "3.png,", "3.png,joy", "3.png,7", "3.png,-1", "loop.png,anger", "a/loop.png,anger",
    "../secret.png,anger", "/etc/passwd,anger", "http://x/3.png,anger", "3\0.png,anger", "\0", "a" * 300 + ".png,anger",
    "b/" * 2000 + "3.png,anger", '"3.png,anger', '3.png","anger', '"3.png""",anger', "3.png;anger", "3.png\tanger",
    "\x1b[31m3.png,anger", "=cmd|' /C calc'!A0,anger", "\u202e3.png,anger", "\ud800.png,anger", "x" * 70_000,
    "3.png,anger,bob,train,more", "1.png,anger", "C:\\3.png,anger", "\ufeff3.png,anger",
]  # fmt: skip
TABLE = "path,expression,subject\n1.png,happiness,ann\n{}\n2.png,anger,bob\n"


def table_ended(folder: Path, line: str) -> str:
    """Return how the reading of a folder of images ends whose table holds a line."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "a").mkdir(parents=True)
    for name in ("1.png", "2.png", "3.png"):
        Image.new("L", (8, 8)).save(folder / name)
    for name in ("loop.png", "a/loop.png"):
        (folder / name).symlink_to("loop.png")
    (folder / "labels.csv").write_bytes(TABLE.format(line).encode("utf-8", "surrogatepass"))
    try:
        found = list(DATASETS["folder"].samples(folder, folder / "labels.csv", None))
    except REFUSALS:
        return SENTENCE
    except Exception:
        traceback.print_exc()
        return TRACEBACK
    taken = {item.path.name for item in found if isinstance(item, Sample)}
    sound = {"2.png"} if line.startswith("1.png") else {"1.png", "2.png"}
    return RIGHT if sound <= taken <= {"1.png", "2.png", "3.png"} else SILENT


# --- worlds


def make_worlds(work: Path) -> Path:
    """Draw a set; prepare, fold and group it; train, export and stop a run of it. Returns the raw folder."""
    raw, world = work / "raw", work / "world"
    draw(raw, 8, seed=0, workers=1, dataset="affectnet")
    (raw / "quarters.onnx").write_bytes(zlib.decompress(base64.b64decode(two_writers.EMBEDDER)))
    for name in ("prepare", "make-folds", "group", "make-folds"):
        made = ended(name, world, raw)
        assert not made.refused and not made.bug, (name, made)
    cut_short(spec(world), work / "trained by half/runs", epochs=1)
    fit(spec(world), world / "runs", CPU, silent)
    assert not ended("export", world, raw).refused
    (world / "out").rename(world / "model")
    shutil.copytree(world / "manifests", work / "trained by half/manifests")

    def interrupt(done: int, *_: object) -> None:
        if done:
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        prepare(DATASETS["affectnet"], raw, work / "prepared by half/manifests", published=True, progress=interrupt)
    return raw


class Trials:
    """Counts how operations end, each in a world of its own."""

    def __init__(self, work: Path, raw: Path) -> None:
        self.work, self.raw, self.here = work, raw, work / "trial"
        self.counts: dict[str, Counter[str]] = {}
        self.bad: list[str] = []
        self._right: dict[tuple[str, str], Answer] = {}

    def _answer(self, world: str, name: str, change: Callable[[], None]) -> Answer:
        shutil.rmtree(self.here, ignore_errors=True)
        shutil.copytree(self.work / world, self.here, copy_function=shutil.copyfile)
        change()
        return ended(name, self.here, self.raw)

    def add(self, kind: str, what: str, world: str, name: str, change: Callable[[], None]) -> None:
        """Do one operation on one changed world."""
        if (world, name) not in self._right:
            self._right[world, name] = right = self._answer(world, name, lambda: None)
            assert not right.refused and not right.bug, (world, name, right)
        found, right = self._answer(world, name, change), self._right[world, name]
        same = RIGHT if found.sha256 == right.sha256 else SENTENCE if found.refused else SILENT
        how = TRACEBACK if found.bug else same
        self.counts.setdefault(kind, Counter())[how] += 1
        if how in (TRACEBACK, SILENT):
            self.bad.append(f"{kind}: {name}, {what}: {how}")
            print(f"{self.bad[-1]}\n{found.bug}", flush=True)

    def edits(self) -> None:
        """Do every operation on every edited manifest."""
        for name in ("verify", "audit", "show", "export pixels", "export a fold", "evaluate", "load"):
            self.add("unchanged, but without a seal", "", "world", name, partial(self._edit, lambda table: table))
        for what, change in EDITS.items():
            for name in ON_MANIFESTS:
                self.add("edited manifests", what, "world", name, partial(self._edit, change))

    def _edit(self, change: Callable[[pa.Table], pa.Table]) -> None:
        edit(self.here / f"{SET}.parquet", change)

    def runs(self) -> None:
        """Do three operations on every damaged run folder."""
        for file in OF_A_RUN:
            for what, how in SPOILED.items():
                change = partial(self._spoil, file, how)
                for name in ("evaluate", "report", "export"):
                    self.add("damaged runs", f"{file} {what}", "world", name, change)

    def _spoil(self, file: str, how: bytes | float | None) -> None:
        spoil(next(self.here.glob(f"runs/*/{file}")), how)

    def flips(self, share: float) -> None:
        """Flip a bit of every format that lies on the disk."""
        for number, (kind, paths, where, num, names, world) in enumerate(FLIPS):
            for trial in range(math.ceil(num * share)):
                change = partial(self._flip, paths, where, np.random.default_rng([number, trial]))
                self.add(f"flips: {kind}", f"{number} {trial}", world, names[trial % len(names)], change)
            print(kind, dict(self.counts[f"flips: {kind}"]), flush=True)

    def _flip(self, pattern: str, where: str, rng: np.random.Generator) -> None:
        paths = sorted(self.here.glob(pattern))
        flip(paths[rng.integers(len(paths))], where, rng)

    def tables(self) -> None:
        """Read tables of labels, each with one line that is none."""
        self.counts["label tables"] = Counter(table_ended(self.work / "own", line) for line in LINES)


def main() -> None:
    """Do all operations, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="an empty folder")
    parser.add_argument("--share", type=float, default=1.0, help="of the flips: fewer, to try")
    parser.add_argument("--out", type=Path, default=Path("docs/results/operations.json"))
    options = parser.parse_args()
    options.work.mkdir(parents=True)
    torch.set_num_threads(1)  # the networks are too small for more
    with judged_quickly():
        trials = Trials(options.work, make_worlds(options.work))
        trials.tables()
        trials.edits()
        trials.runs()
        trials.flips(options.share)
    ends = (RIGHT, SENTENCE, TRACEBACK, SILENT)
    made = {
        "made": made_by({"share": options.share}, parts=CODE),
        "command": "PYTHONPATH=tests python benchmarks/operations.py --work FOLDER",
        "operations": sum(count.total() for count in trials.counts.values()),
        "ended": {kind: {end: count[end] for end in ends} for kind, count in trials.counts.items()},
        "tracebacks and silent damage": trials.bad,
    }  # fmt: skip
    text = json.dumps(made, indent=1)
    print(text)
    write_atomic(options.out, text + "\n")


if __name__ == "__main__":
    main()
