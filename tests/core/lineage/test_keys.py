"""Stage keys and canonical JSON."""

import hashlib
from dataclasses import replace

import pytest
from lineage_toys import REPORT, STATS, ToyConfig, make_report, make_stats

from recap_core.config.base import RuntimeConfig
from recap_core.errors import ConfigError
from recap_core.lineage.keys import artifact_id, canonical_json, each_input, stage_key
from recap_core.lineage.store import Store


def test_canonical_json_is_sorted_compact_ascii() -> None:
    """Order of keys, tuples and blanks leave no trace; the text is worked out by hand."""
    value = {"b": (1, 2.5, None), "a": {"ä": True}}

    assert canonical_json(value) == '{"a":{"\\u00e4":true},"b":[1,2.5,null]}'


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [1.0, float("nan")]}, r"value\.a\[1\] is nan"),
        ({"a": float("inf")}, r"value\.a is inf"),
        ({"a": {1, 2}}, r"value\.a is set"),
        ({1: "a"}, r"key 1 of value is int"),
        (b"bytes", r"value is bytes"),
    ],
)
def test_what_json_cannot_hold_is_refused(value: object, message: str) -> None:
    """NaN, infinity, sets, bytes and other keys than strings raise, naming their place."""
    with pytest.raises(ConfigError, match=message):
        canonical_json(value)


def test_the_key_is_blake2b_of_the_documented_text() -> None:
    """The text that is hashed is written out by hand."""
    text = '{"config":{"text":"x"},"inputs":{},"stage":"toy_stats","version":1}'
    expected = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    assert stage_key(STATS, ToyConfig(text="x"), {}) == expected


def test_defaults_and_absent_inputs_leave_no_trace() -> None:
    """A setting at its default and an input that is None are as if they did not exist."""
    assert stage_key(STATS, ToyConfig(scale=1.0), {"start": None}) == stage_key(
        STATS, ToyConfig(), {}
    )


def test_everything_that_matters_changes_the_key(store: Store) -> None:
    """Stage, version, setting, input, role and order of inputs each give a key of their own."""
    a, b = make_stats(store, "a"), make_stats(store, "b")
    keys = {
        stage_key(STATS, ToyConfig(), {}),
        stage_key(REPORT, ToyConfig(), {}),
        stage_key(replace(STATS, version=2), ToyConfig(), {}),
        stage_key(STATS, ToyConfig(scale=2), {}),
        stage_key(STATS, ToyConfig(), {"x": a}),
        stage_key(STATS, ToyConfig(), {"y": a}),
        stage_key(STATS, ToyConfig(), {"x": b}),
        stage_key(STATS, ToyConfig(), {"x": [a, b]}),
        stage_key(STATS, ToyConfig(), {"x": [b, a]}),
    }

    assert len(keys) == 9


def test_a_runtime_config_is_refused() -> None:
    """Settings that change no result cannot become part of a key by mistake."""
    with pytest.raises(ConfigError, match=r"RuntimeConfig is a runtime config.*'toy_stats'"):
        stage_key(STATS, RuntimeConfig(), {})


def test_the_id_depends_on_kind_key_and_digest() -> None:
    """A byte-equal copy under another stage key is another artifact."""
    ids = {artifact_id(*parts) for parts in [("a", "k", "d"), ("b", "k", "d"), ("a", "l", "d")]}

    assert len(ids | {artifact_id("a", "k", "e")}) == 4


def test_inputs_are_flattened_with_their_roles(store: Store) -> None:
    """Sequences repeat their role, None is left out."""
    a, b = make_stats(store), make_report(store)

    assert each_input({"many": [a, b], "none": None, "one": a}) == [
        ("many", a),
        ("many", b),
        ("one", a),
    ]
