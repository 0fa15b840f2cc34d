"""Croissant 1.1 metadata of an export: what machines read of a dataset (https://docs.mlcommons.org/croissant).

mlcroissant 1.1 accepts it as 1.1 and reads its records. Where it is stricter than the specification, it is followed:
schema.org is the one of https, and a reference names its kind. It unpacks tars to a cache by their relative names, so
of two WebDataset exports it shows the first until that cache is emptied.
"""

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from fertools.export.formats import FIRST, Exported
from manifests import schema
from manifests.provenance import file_sha256

TERMS = (  # of the recommended context (appendix 1), and what mlcroissant looks for beyond them
    "annotation", "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "excludes", "extract",
    "field", "fileObject", "fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath",
    "key", "md5", "parentField", "path", "readLines", "recordSet", "references", "regex", "repeated", "replace",
    "samplingRate", "sdVersion", "separator", "source", "subField", "transform", "unArchive", "value",
)  # fmt: skip
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "prov": "http://www.w3.org/ns/prov#",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
} | {name: f"cr:{name}" for name in TERMS}
SPLITS = {"train": "cr:TrainingSplit", "validation": "cr:ValidationSplit", "test": "cr:TestSplit"}
TABLES = {"fileSet": {"@id": "tables"}}
MEDIA = {".csv": "text/csv", ".parquet": "application/x-parquet", ".tar": "application/x-tar"}


def describe(
    folder: Path, exported: Exported, metadata: dict[str, Any], terms: str, today: datetime.date
) -> dict[str, Any]:
    """Return the metadata of the files below a folder."""
    drawn, source = metadata["summary"]["drawn"], metadata["source"]
    page = source if source.startswith("http") and not drawn else "README.md"
    maker = "fertools" if drawn else f"The authors of {metadata['title']}"
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": f"{exported.dataset}-drawn" if drawn else exported.dataset,
        "description": f"Faces for facial-expression recognition, protocol {metadata['summary']['protocol']}"
        f"{'' if exported.pixels else ', without their images'}. {terms}",
        "url": page,
        "license": {"@type": "sc:CreativeWork", "name": "Terms of use", "description": terms, "url": page},
        "usageInfo": {"@type": "sc:CreativeWork", "name": "Terms of use", "description": terms, "url": page},
        "creator": {"@type": "sc:Organization", "name": maker, "url": page},
        "citeAs": terms if drawn else f"{metadata['title']}. {source}",
        "datePublished": today.isoformat(),
        "version": f"1.0.0+{exported.rows_sha256[:12]}",
        "keywords": ["facial expression", "face", *(["synthetic"] if drawn else [])],
        **({"prov:wasDerivedFrom": {"@id": source}} if page == source else {}),
        "prov:wasGeneratedBy": {"@type": "prov:Activity", "prov:label": metadata["command"]},
        "distribution": [*_files(folder), *_file_sets(folder, exported)],
        "recordSet": [*_record_sets(exported)],
    }


def _files(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield what there is of tables and archives; pictures are described together, as a set."""
    for path in sorted(path for path in folder.rglob("*") if path.suffix in MEDIA):
        name = path.relative_to(folder).as_posix()
        yield {
            "@type": "cr:FileObject", "@id": name, "name": name, "contentUrl": name,
            "contentSize": f"{path.stat().st_size} B", "encodingFormat": MEDIA[path.suffix],
            "sha256": file_sha256(path),
        }  # fmt: skip


def _file_sets(folder: Path, exported: Exported) -> Iterator[dict[str, Any]]:
    tables = ["data/*.parquet"] if exported.format == "hf" else ["labels.csv", "rest.csv"]
    media = MEDIA[Path(tables[0]).suffix]
    yield {"@type": "cr:FileSet", "@id": "tables", "name": "tables", "includes": tables, "encodingFormat": media}
    if exported.pixels and exported.format != "hf":
        tars = [{"@id": path.relative_to(folder).as_posix()} for path in sorted(folder.rglob("*.tar"))]
        yield {
            "@type": "cr:FileSet", "@id": "pictures", "name": "pictures", "includes": "*.png",
            "encodingFormat": "image/png",
        } | ({"containedIn": tars} if tars else {})  # fmt: skip


def _record_sets(exported: Exported) -> Iterator[dict[str, Any]]:
    yield {
        "@type": "cr:RecordSet", "@id": "splits", "name": "splits", "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": [_field("splits", "name", "sc:Text"), _field("splits", "url", "sc:URL")],
        "data": [
            {"splits/name": part, "splits/url": SPLITS[part]} for part in exported.parts if part in SPLITS
        ],
    }  # fmt: skip
    hf = exported.format == "hf"
    yield {
        "@type": "cr:RecordSet", "@id": "faces", "name": "faces", "key": {"@id": "faces/face_id"},
        "description": f"One record a face. Parts: {exported.parts_by}.",
        "field": [_part(hf), *_columns(schema.FACES if hf and exported.pixels else schema.ROWS, hf)],
    }  # fmt: skip
    if exported.pixels and not hf:
        yield _pictures(exported.format)
    if exported.pairs:
        yield {
            "@type": "cr:RecordSet", "@id": "pairs", "name": "pairs",
            "description": "Two people's faces of one expression, both in the training part.",
            "field": [
                _field("pairs", name, kind) | {"source": _source({"fileObject": {"@id": "pairs.parquet"}}, name)}
                for name, kind in (("epoch", "sc:Integer"), ("anchor", "sc:Text"), ("partner", "sc:Text"))
            ],
        }  # fmt: skip


def _part(hf: bool) -> dict[str, Any]:
    """Return the field that says in which part a face is: a table's column, or the start of a shard's name."""
    name = {"extract": {"fileProperty": "filename"}, "transform": {"regex": "([a-z]+)"}}
    return _field("faces", "part", "sc:Text") | {
        "source": TABLES | name if hf else _source(TABLES, "part"),
        "references": {"field": {"@id": "splits/name"}},
    }


def _columns(columns: pa.Schema, hf: bool) -> Iterator[dict[str, Any]]:
    """Yield a field a column of the manifest, and the path of a table."""
    for column in [*([] if hf else [pa.field(FIRST[0], pa.string())]), *columns]:
        field = _field("faces", column.name, _kind(column))
        source = _source(TABLES, column.name)
        if meaning := (column.metadata or {}).get(b"meaning"):
            field["description"] = meaning.decode()
        if pa.types.is_fixed_size_list(column.type):
            field |= {"isArray": True, "arrayShape": str(column.type.list_size)}
            source |= {} if hf else {"transform": {"separator": " "}}
        if column.name == "image":
            source["transform"] = {"jsonPath": "bytes"}
        if column.name == "box":
            source["format"] = "XYXY"
        yield field | {"source": source}


def _kind(column: pa.Field) -> str | list[str]:
    """Return the Croissant type of a column."""
    named: dict[str, str | list[str]] = {
        "image": "sc:ImageObject", "expression": ["sc:Text", "cr:Label"], "box": ["sc:Float", "cr:BoundingBox"],
    }  # fmt: skip
    if column.name in named:
        return named[column.name]
    kind = column.type.value_type if pa.types.is_fixed_size_list(column.type) else column.type
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    return "sc:Integer" if pa.types.is_integer(kind) else "sc:Float" if pa.types.is_floating(kind) else "sc:Text"


def _pictures(form: str) -> dict[str, Any]:
    """Return the records of the pictures that are files, each joined to its row of the tables by its path."""
    pictures = {"fileSet": {"@id": "pictures"}}
    name = "fullpath" if form == "folder" else "filename"
    path = pictures | {"extract": {"fileProperty": name}, "transform": {"regex": "(.*)"}}
    return {
        "@type": "cr:RecordSet", "@id": "crops", "name": "crops", "description": "Aligned crops.",
        "field": [
            _field("crops", "path", "sc:Text") | {"source": path, "references": _source(TABLES, "path")},
            _field("crops", "face_id", "sc:Text") | {"source": _source(TABLES, "face_id")},
            _field("crops", "image", "sc:ImageObject")
            | {"source": pictures | {"extract": {"fileProperty": "content"}}},
        ],
    }  # fmt: skip


def _field(record_set: str, name: str, kind: str | list[str]) -> dict[str, Any]:
    return {"@type": "cr:Field", "@id": f"{record_set}/{name}", "name": f"{record_set}/{name}", "dataType": kind}


def _source(origin: dict[str, Any], column: str) -> dict[str, Any]:
    return origin | {"extract": {"column": column}}
