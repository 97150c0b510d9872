"""Tree digests and logical digests of parquet columns."""

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import xxhash
from lineage_toys import age
from pyarrow import parquet

from recap_core.errors import ArtifactError
from recap_core.lineage.digest_cache import DigestCache
from recap_core.lineage.digests import parquet_column_digests, tree_digest


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three files, one of them in a directory."""
    root = tmp_path / "tree"
    (root / "b").mkdir(parents=True)
    (root / "b" / "x").write_bytes(b"1")
    (root / "b.txt").write_bytes(b"2")
    (root / "a").write_bytes(b"")
    return root


def test_the_tree_digest_follows_its_definition(tree: Path) -> None:
    """xxh3-128 over ``path NUL digest LF``, in the byte order of the paths."""
    text = b""
    for path, content in [(b"a", b""), (b"b.txt", b"2"), (b"b/x", b"1")]:
        text += path + b"\0" + xxhash.xxh3_128_hexdigest(content).encode() + b"\n"

    assert tree_digest(tree, None) == xxhash.xxh3_128_hexdigest(text)


def test_manifest_permissions_and_empty_directories_do_not_count(tree: Path) -> None:
    """Only paths and contents of files do."""
    before = tree_digest(tree, None)
    (tree / "artifact.json").write_text("{}")
    (tree / "empty").mkdir()
    (tree / "a").chmod(0o400)

    assert tree_digest(tree, None) == before


@pytest.mark.parametrize("change", ["content", "name", "new", "removed", "inner manifest"])
def test_any_change_of_content_changes_the_digest(tree: Path, change: str) -> None:
    """A byte, a name, a file more or less; only the manifest at the root is left out."""
    before = tree_digest(tree, None)
    match change:
        case "content":
            (tree / "b" / "x").write_bytes(b"3")
        case "name":
            (tree / "a").rename(tree / "c")
        case "new":
            (tree / "new").touch()
        case "removed":
            (tree / "a").unlink()
        case _:
            (tree / "b" / "artifact.json").touch()

    assert tree_digest(tree, None) != before


@pytest.mark.parametrize("kind", ["link to file", "link to directory", "dangling link", "pipe"])
def test_links_and_special_files_are_refused(tree: Path, kind: str) -> None:
    """Their content lies elsewhere, or nowhere."""
    path = tree / "b" / "odd"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to({"link to file": "x", "link to directory": tree}.get(kind, "gone"))

    with pytest.raises(ArtifactError, match=r"b/odd is a (symbolic link|special file)"):
        tree_digest(tree, None)


def test_an_unchanged_file_is_not_read_again(tree: Path, tmp_path: Path) -> None:
    """A wrong digest planted in the cache shows up, until every file is read."""
    cache = DigestCache(tmp_path / "cache.sqlite")
    right = tree_digest(tree, None)
    age()
    cache.put([((tree / "a").stat(), "0" * 32)])

    assert tree_digest(tree, cache) != right
    assert tree_digest(tree, cache, trust_cache=False) == right
    assert tree_digest(tree, cache) == right


def test_a_forged_mtime_does_not_hide_a_change(tree: Path, tmp_path: Path) -> None:
    """Same size and mtime, other content: the ctime tells."""
    cache = DigestCache(tmp_path / "cache.sqlite")
    age()
    before = tree_digest(tree, cache)
    status = (tree / "b.txt").stat()
    (tree / "b.txt").write_bytes(b"9")
    os.utime(tree / "b.txt", ns=(status.st_atime_ns, status.st_mtime_ns))

    assert tree_digest(tree, cache) != before


def test_a_file_that_changes_while_it_is_read_is_not_cached(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was listed and what was read differ, so the next look reads it again."""
    cache = DigestCache(tmp_path / "cache.sqlite")
    age()
    real = Path.open

    def touch_and_open(path: Path, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        path.chmod(0o600)
        return real(path, *arguments, **options)

    with monkeypatch.context() as system:
        system.setattr(Path, "open", touch_and_open)
        digest = tree_digest(tree, cache)

    assert not cache.path.exists()
    assert tree_digest(tree, cache) == digest


def write(path: Path, table: pa.Table, rows: int, **options: Any) -> dict[str, str]:  # noqa: ANN401 - passed on
    parquet.write_table(table, path, row_group_size=rows, **options)
    return parquet_column_digests(path)


def table() -> pa.Table:
    return pa.table(
        {
            "index": pa.array(range(7), pa.int64()),
            "value": pa.array([0.5, None, -0.0, 1, 2, 3, 4], pa.float32()),
            "label": pa.array(["positive", "none", None, "a", "b", "", "ü"]),
            "done": pa.array([True, False, None] + [True] * 4),
            "at": pa.array([1, 2, None, 4, 5, 6, 7], pa.timestamp("us")),
            "action": pa.array([[i, i + 1] for i in range(7)], pa.list_(pa.float32(), 2)),
            "tags": pa.array([[], None, ["x"], ["y", None], [], [], ["z"]]),
            "place": pa.array([{"x": i, "n": str(i)} for i in range(6)] + [None]),
            "cost": pa.array([1, 2, 3, 4, 5, 6, None], pa.decimal128(6, 2)),
            "raw": pa.array([b"1", b"", None, b"22", b"3", b"4", b"5"]),
        }
    )


def test_writer_choices_leave_the_columns_digests_alone(tmp_path: Path) -> None:
    """Row groups, compression, dictionaries and large strings are not content."""
    plain = table()
    label = plain.schema.get_field_index("label")
    as_dictionary = plain.set_column(label, "label", plain["label"].dictionary_encode())
    as_large = plain.set_column(label, "label", plain["label"].cast(pa.large_string()))
    expected = write(tmp_path / "a", plain, 7)

    assert write(tmp_path / "b", plain, 2, compression="zstd", use_dictionary=False) == expected
    assert write(tmp_path / "c", as_dictionary, 3) == expected
    assert write(tmp_path / "d", as_large, 3) == expected
    assert len(set(expected.values())) == 10


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("label", ["positive", "none", None, "ab", "", "", "ü"]),
        ("value", [0.5, None, 0.0, 1, 2, 3, 4]),
        ("done", [True, None, False] + [True] * 4),
        ("tags", [[], None, ["x", "y"], [None], [], [], ["z"]]),
        ("cost", [1, 2, 3, 4, 5, 7, None]),
        ("place", [{"x": i, "n": "0"} for i in range(6)] + [None]),
    ],
)
def test_a_changed_value_changes_its_column_and_no_other(
    tmp_path: Path, column: str, values: list[object]
) -> None:
    """Moved borders between strings or lists, the sign of zero and moved nulls count."""
    plain = table()
    i = plain.schema.get_field_index(column)
    changed = plain.set_column(i, column, pa.array(values, plain.schema.field(i).type))
    before, after = write(tmp_path / "a", plain, 7), write(tmp_path / "b", changed, 7)

    assert {name for name in before if before[name] != after[name]} == {column}


def test_the_type_of_a_column_counts(tmp_path: Path) -> None:
    """Equal bits of another type are other content."""
    ints = pa.table({"x": pa.array([0, 0], pa.int32())})
    floats = pa.table({"x": pa.array([0, 0], pa.float32())})

    assert write(tmp_path / "a", ints, 2) != write(tmp_path / "b", floats, 2)
