"""Where the RECAP columns of an imported dataset come from: stored, told, or computed anew."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recap_core.data.columns import correction_index_feature
from recap_core.data.frames import read_frames
from recap_core.data.import_record import read_import_record
from recap_core.errors import ColumnError
from tests.core.data.foreign_datasets import RECAP, adopt, altered, at_end, per_frame

SOURCES: dict[str, Callable[[list[bool]], dict[str, Any]]] = {
    "next.success": lambda s: {"columns": {"next.success": ("bool", at_end(s, elsewhere=False))}},
    "success": lambda s: {"columns": {"success": ("int64", per_frame([int(x) for x in s]))}},
    "text": lambda s: {
        "columns": {"is_success": ("string", per_frame(["Success" if x else "failure" for x in s]))}
    },
    "reward": lambda s: {"columns": {"reward": ("float64", [float(x) for x in at_end(s)])}},
    "next.reward": lambda s: {
        "columns": {"next.reward": ("float32", pa.array(at_end(s), pa.float32()))}
    },
    "metadata": lambda s: {"episodes": {"is_success": s}},
    "words": lambda s: {
        "episodes": {"episode_success": ["success" if x else "failure" for x in s]}
    },
}


@given(success=st.lists(st.booleans(), min_size=3, max_size=3), kind=st.sampled_from([*SOURCES]))
@settings(max_examples=15)
def test_every_source_of_outcomes_gives_the_same_columns(
    foreign: Path, tmp_path_factory: pytest.TempPathFactory, success: list[bool], kind: str
) -> None:
    """Whichever way the same outcomes are stored or told, the RECAP columns are equal."""
    scratch = tmp_path_factory.mktemp("outcomes")
    bare = ("next.success",)
    plain = altered(foreign, scratch / "plain", without=bare)
    stored = altered(foreign, scratch / "stored", without=bare, **SOURCES[kind](success))

    told = adopt(plain, scratch / "told", outcomes=tuple(enumerate(success)))
    found = adopt(stored, scratch / "found")

    assert found.success.tolist() == success
    for name in RECAP:
        np.testing.assert_array_equal(found.column(name), told.column(name))


@pytest.mark.parametrize(
    ("name", "dtype", "values"),
    [
        ("complementary_info.is_intervention", "float32", pa.array([0, 1.0] * 7 + [0], "float32")),
        ("complementary_info.state", "float32", pa.array([0, 1.0] * 7 + [2], "float32")),
        ("is_intervention", "int64", [0, 1] * 7 + [0]),
        ("is_intervention", "int64", pa.array([[0], [1]] * 7 + [[0]])),
        ("phase", "string", ["paused", "correcting"] * 7 + ["autonomous"]),
    ],
)
def test_interventions_of_other_recorders(
    foreign: Path, tmp_path: Path, name: str, dtype: str, values: object
) -> None:
    """Floats, states, integers, lists of one and phases say the same."""
    source = altered(
        foreign, tmp_path / "in", without=("intervention",), columns={name: (dtype, values)}
    )

    table = adopt(source, tmp_path / "out")

    assert table.column("intervention").tolist() == [0, 1] * 7 + [0]
    assert table.column("phase").tolist()[1] == "correcting"


def test_no_intervention_column_means_none(foreign: Path, tmp_path: Path) -> None:
    """And the record says so."""
    source = altered(foreign, tmp_path / "in", without=("intervention",))

    assert not adopt(source, tmp_path / "out").column("intervention").any()
    made_from = read_import_record(tmp_path / "out").made_from
    assert made_from["intervention"] == "0: no column says who drove"


def test_a_column_renamed_to_a_recap_column_is_one(foreign: Path, tmp_path: Path) -> None:
    """``--rename is_human=intervention`` is enough."""
    source = altered(
        foreign,
        tmp_path / "in",
        without=("intervention",),
        columns={"is_human": ("bool", [True] * 15)},
    )

    table = adopt(source, tmp_path / "out", rename={"is_human": "intervention"})

    assert table.column("intervention").tolist() == [1] * 15
    assert "is_human" not in table.meta.features


def test_corrections_are_counted_in_our_dtype(foreign: Path, tmp_path: Path) -> None:
    """Whatever integers the source counts in: else the result would not merge with our own."""
    counts = pa.array([[0], [0], [1], [1], [1]] * 3, pa.large_list(pa.int64()))
    source = altered(
        foreign,
        tmp_path / "in",
        columns={"correction_index": ("int64", counts)},
        info=lambda info: info["features"]["correction_index"].update(names=["count"]),
    )

    table = adopt(source, tmp_path / "out")

    assert table.column("correction_index").tolist() == [0, 0, 1, 1, 1] * 3
    assert {"correction_index": table.meta.features["correction_index"]} == (
        correction_index_feature()
    )


def test_vectors_in_long_lists(foreign: Path, tmp_path: Path) -> None:
    """Polars writes them."""
    action = read_frames(foreign).column("action")
    long = pa.array(action.tolist(), pa.large_list(pa.float32()))
    source = altered(foreign, tmp_path / "in", columns={"action": ("float32", long)})

    np.testing.assert_array_equal(read_frames(source).column("action"), action)
    np.testing.assert_array_equal(adopt(source, tmp_path / "out").column("action"), action)


def test_columns_that_break_a_rule_are_written_anew_when_told(
    adopted: Path, tmp_path: Path
) -> None:
    """Else the error names the frame, the rule, and how to go on."""
    source = altered(
        adopted,
        tmp_path / "in",
        columns={"value_label": ("float32", pa.array([0.25] * 15, pa.float32()))},
    )

    with pytest.raises(ColumnError, match=r"value_label\[0\] of episode 0 is 0.25, but it rises"):
        adopt(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    table = adopt(source, tmp_path / "out", recompute=["value_label"])

    np.testing.assert_array_equal(
        table.column("value_label"), read_frames(adopted).column("value_label")
    )
