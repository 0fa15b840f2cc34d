import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests import footer
from manifests.footer import BINARY, BYTE, DOUBLE, FALSE, I16, I64, LIST, STRUCT, TRUE, Field, File
from manifests.schema import ManifestError


def kinds_of(fields):
    """Values of every kind, lists of them, structs of what `fields` gives."""
    by_kind = {
        BYTE: st.binary(min_size=1, max_size=1),
        I16: st.integers(-(2**15), 2**15 - 1),
        I64: st.integers(-(2**63), 2**63 - 1),
        DOUBLE: st.binary(min_size=8, max_size=8),
        BINARY: st.binary(max_size=200),
        STRUCT: fields,
    }
    one = [st.builds(Field, st.just(kind), values) for kind, values in by_kind.items()]
    lists = [
        st.builds(lambda kind, values: Field(LIST, (kind, values)), st.just(kind), st.lists(values, max_size=20))
        for kind, values in (by_kind | {TRUE: st.integers(1, 2)}).items()
    ]
    flags = st.sampled_from([Field(TRUE, True), Field(FALSE, False)])
    return st.dictionaries(st.integers(1, 300), st.one_of(*one, *lists, flags), max_size=4)


@given(st.recursive(st.just({}), kinds_of, max_leaves=8))
def test_any_struct_comes_back_as_it_was(fields):
    data = footer.encode(fields)
    assert footer.decode(data) == fields
    for length in range(len(data)):
        with pytest.raises(ManifestError, match="does not end as a Parquet file does"):
            footer.decode(data[:length])


def test_a_number_is_stored_as_thrifts_specification_shows():
    assert footer.decode(b"\x16\xdf\x89\x03\x00") == {1: Field(I64, -25200)}  # 50399 unsigned: DF 89 03


@pytest.mark.parametrize(
    "options", [{}, {"compression": "zstd", "write_page_index": True}, {"data_page_version": "2.0", "version": "1.0"}]
)
def test_what_pyarrow_wrote_is_put_together_as_it_was(options, tmp_path):
    path = tmp_path / "a.parquet"
    table = pa.table(
        {"a": [1, None, -3] * 40, "b": [["x"], [], None] * 40, "c": [True, False, None] * 40, "d": 120 * [0.5]}
    )
    pq.write_table(table, path, row_group_size=7, **options)
    with path.open("rb") as file:
        stored = footer.read(file)
    assert path.read_bytes().endswith(footer.ending(stored))
    assert len(stored[File.ROW_GROUPS].value[1]) == 18


def test_a_field_that_parquet_does_not_have_is_refused():
    with pytest.raises(ManifestError, match="a field of kind 13, known to no Parquet"):
        footer.decode(b"\x1d\x00")


def test_what_is_not_parquet_is_refused(tmp_path):
    for data in (b"", b"PAR1", b"\xff\xff\xff\xffPAR1", bytes(100)):
        (tmp_path / "a").write_bytes(data)
        with (tmp_path / "a").open("rb") as file, pytest.raises(ManifestError, match="does not end as a Parquet"):
            footer.read(file)
