"""Write docs/manifest.md, cli.md, third-party.md and results/stale.md: `make docs`. A test says when they are stale."""

import html
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import metadata
from pathlib import Path

import pyarrow as pa
from packaging.markers import Marker

from manifests import faces as crops
from manifests import schema
from trainer.runs import made_by

DOCS = Path(__file__).parent

MANIFEST = """# The manifest: what joins `fertools` and `trainer`

Written by `make docs` from [manifests/schema.py](../manifests/schema.py). Files are Parquet, format version {version}.

    manifests/ckplus.parquet                    one row a face, without its crop         prepare, make-folds, group
    manifests/ckplus.faces/part-00000.parquet   the crops of the same rows, in order     fertools prepare
    manifests/ckplus.pairs.parquet              same-expression pairs a fold and epoch   fertools make-folds
    manifests/ckplus.whitening/fold03.parquet   statistics of a training part (zca)      fertools make-folds
    manifests/ckplus.augmented/fold03.parquet   training faces augmented, for others     fertools augment
    manifests/ckplus.crops/*.uint8              faces too many for the device, streamed  trainer; may be deleted

```python
import io

import manifests
import pandas as pd
from PIL import Image

rows = pd.read_parquet("manifests/ckplus.parquet")  # or manifests.read("ck+"), which also checks them
crops = pd.read_parquet("manifests/ckplus.faces")  # face_id and image
faces = manifests.read("ck+", images=True)  # both
Image.open(io.BytesIO(faces["image"][0]["bytes"])).show()
```

What changes apart lies apart. Folds and groups are columns of the rows' file, which is small and written anew at once.
The crops are written once, at most {part_rows:,} a part in row groups of {row_group:,}; a part whose faces are the same
stays as it is. The rows' file records of each part its name, rows, sha256 and the hash of its column `face_id`, and
crops that are not those of the rows are refused. Pairs, whitening and augmented faces record the hashes of what they
were made from. A run of `trainer` records those of what it read: crops, pairs, whitening, and the columns {columns}.
It is refused where one of these differs, by its name, and for nothing else.

`fertools export --format hf --pixels` writes rows and crops as one file, as Hugging Face datasets reads it.

Fold k tests on the faces of fold k, validates on fold k + 1 (the last on fold 1) and trains on the rest; only usable
faces with an expression take part. No person is in two of the three parts. An official split is fold 1 alone: its test
part is 1, its validation part 2 (where none is published, one in ten people of the training part), the rest 3. Who is
in it is not published then: `group` holds what `fertools group` computes, and `fertools audit` says what parts share.

## One row a face
{rows}

## One crop a face
{crops}

The crop is {crop} x {crop} px of grey, aligned by five landmarks; its centre {face} x {face} px are the face that a
network sees. The margin is there so that a face turned by up to 15 degrees has no invented corner. `fertools prepare
--size 256 --align eyes-nose --color rgb` makes other ones, which the file's metadata says under `crop`: {large} x
{large} px, of which a network sees {large_face} x {large_face}. A manifest without that key has the default.

## One row a pair
{pairs}

## Whitening statistics of one fold
{whitening}

## One row an augmented face
{augmented}

`whitened` is there with `--whiten` only. The file's metadata says, as JSON, `made_from` (hashes of the crops, of the
training rows of `fold`, and of the statistics), `pipeline` and `pipeline_sha256` (of that JSON, keys in order),
`copies`, `seed`, `crop`, `whitening` and the versions of `libraries`. After another `make-folds` it may hold what are
test faces now: `fertools verify --manifest ck+` names it then.
"""


def table(columns: pa.Schema) -> str:
    """Return a schema as a Markdown table."""
    lines = ["| column | type | null | meaning | unit |", "|---|---|---|---|---|"]
    for field in columns:
        about = {key.decode(): value.decode() for key, value in field.metadata.items()}
        null = "yes" if field.nullable else "no"
        lines.append(f"| {field.name} | {field.type} | {null} | {about['meaning']} | {about.get('unit', '')} |")
    return "\n".join(lines)


def escaped(line: str) -> str:
    """Return a line of Markdown with < and > outside of code as text: a page would take them for tags."""
    parts = line.split("`")
    return "`".join(part if number % 2 else html.escape(part, quote=False) for number, part in enumerate(parts))


STALE = """# Results older than the code they describe

Written by `make docs`; a test says when it is out of date. A result records a hash of each part of the code that its
numbers come from (`trainer/runs/made_by.py`); what stands here is not to be quoted as what the code of today gives.

The code has changed since: {changed}.

The code that made them is not recorded (before November 30): {unrecorded}.
"""


def stale_page() -> str:
    """Return the page that names results older than the code they describe."""
    stale = made_by.stale(DOCS / "results")
    unrecorded = [name for name, parts in stale.items() if parts == [made_by.NOT_RECORDED]]
    changed = [name for name in stale if name not in unrecorded]
    return STALE.format(changed=", ".join(changed) or "none", unrecorded=", ".join(unrecorded) or "none")


THIRD_PARTY = """# What others have made, and its licences

Written by `make docs` from [requirements.lock](../requirements.lock), which pins what `make` installs, and from what
the installed packages say of themselves on Linux with Python 3.11. Named is whatever runs: dependencies and extras, and
all that these need in turn. What only develops and tests (`dev`) is not, nor is `timm`, which the lock does not pin. No
package is copied into this repository.

| package | version | licence, in its own words | needed by |
|---|---|---|---|
{packages}

## Files beside the code

Made for this project and under its own licence (MIT): {assets}. `trainer/experiments/papers/printed.csv` quotes numbers
from tables of papers, each with its source. `trainer/inference/shipped/london` was trained on photographs of the Face
Research Lab London Set (DeBruine & Jones 2017, doi:10.6084/m9.figshare.5047666, CC BY 4.0) and is under that licence.
The detector's weights are part of facenet-pytorch (MIT); embedders and encoders (`fertools group`, `trainer fit
--encoder-weights`) are files that a user names or facenet-pytorch, torchvision and timm download, under the licences
that the command prints.
"""
PINNED = re.compile(r"^([a-z0-9.-]+)==([^ ]+) (?:; ([^\\\n]+))?[^\n]*\n((?:    [^\n]*\n)*)", re.MULTILINE)
DIRECT = "fertools (pyproject.toml)"
HERE = {"os_name": "posix", "sys_platform": "linux", "platform_system": "Linux", "python_full_version": "3.11.0"}


@dataclass(frozen=True)
class Pinned:
    """A package as requirements.lock pins it: its versions, one a Python version, and what needs it directly."""

    versions: tuple[str, ...] = ()
    needed_by: frozenset[str] = frozenset()
    here: bool = False  # on Linux with Python 3.11


def locked(lock: str) -> dict[str, Pinned]:
    """Return what is pinned, by its name."""
    found: dict[str, Pinned] = defaultdict(Pinned)
    for name, version, where, below in PINNED.findall(lock):
        seen, by = found[name], re.findall(r"#(?: via|  ) +(\S+(?: \(pyproject.toml\))?)", below)
        found[name] = Pinned(
            (*seen.versions, version), seen.needed_by | set(by), seen.here or not where or Marker(where).evaluate(HERE)
        )
    return found


def run_time(pinned: dict[str, Pinned]) -> set[str]:
    """Return the packages that run: those that pyproject.toml names, but for those of dev, and all that they need."""
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["project"]
    extras = [line for extra, lines in project["optional-dependencies"].items() if extra != "dev" for line in lines]
    named = {re.match(r"[A-Za-z0-9.-]+", line)[0] for line in (*project["dependencies"], *extras)}
    found: set[str] = set()
    while more := {name for name, package in pinned.items() if name in named or package.needed_by & found} - found:
        found |= more
    return found


def licence(name: str) -> str:
    """Return a package's licence as its metadata says it."""
    said = metadata(name)
    classified = [line.rpartition(" :: ")[2] for line in said.get_all("Classifier", []) if line.startswith("License")]
    first = (said.get("License") or "").strip().partition("\n")[0]
    return said.get("License-Expression") or "; ".join(classified) or first or "not said in its metadata"


def assets() -> Iterator[str]:
    """Yield the files of the packages that are no code."""
    for package in ("fertools", "manifests", "trainer"):
        for path in sorted((DOCS.parent / package).rglob("*.*")):
            if path.suffix in (".html", ".md", ".csv"):
                yield f"`{path.relative_to(DOCS.parent).as_posix()}`"


def third_party_page() -> str:
    """Return the page of the licences of others."""
    pinned = locked((DOCS.parent / "requirements.lock").read_text())
    rows, running = [], run_time(pinned)
    for name in sorted(running):
        package = pinned[name]
        users = package.needed_by & {*running, DIRECT}
        by = ", ".join(sorted("fertools" if user == DIRECT else user for user in users))
        said = licence(name).replace("|", "/") if package.here else "not installed on Linux with Python 3.11"
        rows.append(f"| {name} | {', '.join(package.versions)} | {said} | {by} |")
    own = [asset for asset in assets() if "printed.csv" not in asset and "/shipped/" not in asset]
    return THIRD_PARTY.format(packages="\n".join(rows), assets=", ".join(own))


def pages() -> dict[Path, str]:
    """Return every generated page and its text."""
    manifest = MANIFEST.format(
        version=schema.VERSION, crop=schema.DEFAULT_CROP.stored, face=schema.DEFAULT_CROP.face,
        large=schema.Crop(256).stored, large_face=schema.Crop(256).face, rows=table(schema.ROWS),
        crops=table(schema.CROPS), part_rows=crops.PART_ROWS, row_group=schema.ROW_GROUP,
        columns=", ".join(schema.PAIRED),
        pairs=table(schema.PAIRS), whitening=table(schema.WHITENING),
        augmented=table(schema.AUGMENTED.append(schema.WHITENED)),
    )  # fmt: skip
    commands = [
        subprocess.run(
            [sys.executable, "-m", "typer", module, "utils", "docs", "--name", module.partition(".")[0]],
            capture_output=True, text=True, check=True,
        ).stdout
        for module in ("fertools.cli", "trainer.cli.main")
    ]  # fmt: skip
    cli = "\n".join(escaped(line.rstrip()) for line in "\n".join(commands).strip().splitlines()) + "\n"
    made = {DOCS / "manifest.md": manifest, DOCS / "cli.md": cli, DOCS / "results" / "stale.md": stale_page()}
    here = (sys.platform, *sys.version_info[:2]) == ("linux", 3, 11)  # other packages are installed elsewhere
    return made | ({DOCS / "third-party.md": third_party_page()} if here else {})


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
        print(path)
