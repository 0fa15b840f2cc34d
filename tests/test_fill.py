import resource

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests import files, schema
from manifests.fill import fill_in
from manifests.schema import ManifestError

NUM = 1100  # two row groups
FOLDS = [row % 7 + 1 for row in range(NUM)]
GROUPS = [None if row % 5 == 0 else f"set/group{row % 31:06d}" for row in range(NUM)]
PLACED = ("file_offset", "data_page_offset", "dictionary_page_offset")  # where a chunk is, not what it holds


@pytest.fixture
def manifest(make_faces, tmp_path):
    path = tmp_path / "set.parquet"
    files.write([make_faces(subject=[f"p{row % 7}" for row in range(NUM)])], path, {"note": [1, "two"]})
    return path


def rewritten(manifest, name, values, metadata):
    """The manifest with a column filled in by writing every row anew."""
    path, faces = manifest.with_name("rewritten.parquet"), files.read(manifest, images=True)
    place, field = schema.FACES.get_field_index(name), schema.FACES.field(name)
    files.write([faces.set_column(place, field, pa.array(values, field.type))], path, metadata)
    return path


def told(path):
    """What a file says of itself, its row groups and their columns, but for where they are."""
    about = pq.read_metadata(path)
    groups = [about.row_group(number) for number in range(about.num_row_groups)]
    columns = [
        {key: value for key, value in group.column(place).to_dict().items() if key not in PLACED}
        for group in groups
        for place in range(group.num_columns)
    ]
    sizes = [(group.num_rows, group.total_byte_size) for group in groups]
    return (
        about.metadata,
        about.schema.to_arrow_schema(),
        str(about.schema).split("\n", 1)[1],
        about.created_by,
        sizes,
        columns,
    )


@pytest.mark.parametrize(
    ("name", "values"), [("fold", FOLDS), ("group", GROUPS), ("split", ["train"] * NUM), ("fold", [None] * NUM)]
)
def test_it_reads_as_if_all_had_been_written_anew(name, values, manifest):
    metadata = {"folds": {"num_folds": 7}}
    anew = rewritten(manifest, name, values, metadata)
    files.write_column(manifest, name, values, metadata)
    assert pq.read_table(manifest).equals(pq.read_table(anew), check_metadata=True)
    assert told(manifest) == told(anew)
    pd.testing.assert_frame_equal(pd.read_parquet(manifest), pd.read_parquet(anew))
    assert pq.read_schema(manifest).field(name).metadata == schema.FACES.field(name).metadata
    assert pq.read_table(manifest, columns=[name]) == pq.read_table(anew, columns=[name])


def test_one_value_of_many_is_found_by_its_statistics(manifest):
    files.write_column(manifest, "group", ["a"] * 1000 + ["b"] * 100, {})
    found = pq.read_table(manifest, filters=[("group", "=", "b")])
    assert found["face_id"].to_pylist() == [f"set/{row}" for row in range(1000, 1100)]
    groups = [pq.read_metadata(manifest).row_group(number).column(3).statistics for number in range(2)]
    assert [(group.min, group.max) for group in groups] == [("a", "a"), ("b", "b")]


def test_what_was_prepared_stays_byte_by_byte_and_what_is_added_is_small(manifest):
    about, before = pq.read_metadata(manifest), manifest.read_bytes()
    last = about.row_group(1).column(about.num_columns - 1)
    end = last.data_page_offset + last.total_compressed_size
    files.write_column(manifest, "fold", FOLDS, {})
    after = manifest.read_bytes()
    assert after[:end] == before[:end]
    assert len(after) < len(before) + NUM


def test_the_bytes_tell_what_was_filled_in_and_not_how_often_or_in_which_order(manifest):
    def fill(*names):
        for name in names:
            values = {"fold": FOLDS, "group": GROUPS, "other group": GROUPS[::-1]}[name]
            files.write_column(manifest, name.split()[-1], values, {"folds": 7})
        return manifest.read_bytes()

    prepared = manifest.read_bytes()
    once = fill("fold")
    both = fill("group")
    assert fill("other group", "fold", "group") == both
    assert fill(*["other group", "group"] * 5) == both
    manifest.write_bytes(prepared)
    assert fill("group", "fold") == both
    manifest.write_bytes(prepared)
    assert fill("fold") == once


def test_what_it_says_of_itself_can_be_changed_alone_before_or_after(manifest):
    prepared = manifest.read_bytes()
    files.write_column(manifest, "fold", FOLDS, {"found": 1})
    fill_in(manifest, {}, {"found": 2})
    after = manifest.read_bytes()
    manifest.write_bytes(prepared)
    fill_in(manifest, {}, {"found": 2})
    files.write_column(manifest, "fold", FOLDS, {"found": 2})
    assert manifest.read_bytes() == after and files.read_metadata(manifest) == {"found": 2}


@pytest.mark.parametrize("size", [100_000, 22_845_000], ids=["the images", "what stands behind them"])
def test_a_full_disk_is_told_and_leaves_the_manifest_as_it_was(size, manifest):
    before, limit = manifest.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    assert size < len(before)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limit[1]))
    try:
        with pytest.raises(ManifestError, match=r"set.parquet cannot be written \(.*too large.*the same command"):
            files.write_column(manifest, "fold", FOLDS, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert manifest.read_bytes() == before
    assert [path.name for path in manifest.parent.iterdir()] == ["set.parquet"]


def test_a_manifest_without_faces_can_be_filled_in(tmp_path):
    path = tmp_path / "none.parquet"
    files.write([], path, {})
    files.write_column(path, "fold", [], {"folds": 1})
    assert len(files.read(path, images=True)) == 0 and files.read_metadata(path) == {"folds": 1}


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "snappy", "row_group_size": 700, "write_page_index": True, "use_dictionary": False},
        {
            "compression": "none",
            "data_page_version": "2.0",
            "write_statistics": False,
            "store_decimal_as_integer": True,
        },
    ],
)
def test_what_a_user_wrote_again_with_pyarrow_is_filled_in(options, manifest):
    table = files.read(manifest, images=True)
    pq.write_table(table, manifest, **options)
    for seed in range(2):
        files.write_column(manifest, "fold", FOLDS, {"seed": seed})
    again = files.read(manifest, images=True)
    assert again["fold"].to_pylist() == FOLDS
    assert again.drop_columns("fold").equals(table.drop_columns("fold"))
    assert not pq.read_metadata(manifest).row_group(0).column(0).has_offset_index


def test_what_another_program_stores_otherwise_is_refused_and_left(manifest):
    faces = files.read(manifest, images=True)
    ours = schema.FACES.with_metadata(faces.schema.metadata)  # its lists are of items, a Parquet file's of elements
    pq.write_table(faces.cast(ours), manifest, use_compliant_nested_type=False)
    before = manifest.read_bytes()
    with pytest.raises(
        ManifestError, match="set.parquet was stored by another program.*fertools prepare set --overwrite"
    ):
        files.write_column(manifest, "fold", FOLDS, {})
    assert manifest.read_bytes() == before and len(list(manifest.parent.iterdir())) == 1
