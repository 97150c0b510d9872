"""Settings beside each other."""

from recap_core.lineage.changes import Change, changes, flat


def test_nested_settings_by_dotted_keys() -> None:
    """Lists of settings by place; lists of values, and empty ones, are values."""
    settings = {"a": {"b": 1, "c": {}}, "d": [{"e": 2}], "f": (1, 2), "g": []}

    assert flat(settings) == {"a.b": 1, "a.c": {}, "d.0.e": 2, "f": [1, 2], "g": []}


def test_what_changed_was_added_and_went() -> None:
    """In the order of the new settings, what went last."""
    found = changes(
        {"a": 1, "b": {"c": 0.1}, "x": None}, {"b": {"c": 0.25, "d": [1, 2]}, "x": None}
    )

    assert found == (
        Change(key="b.c", kind="changed", old=0.1, new=0.25),
        Change(key="b.d", kind="added", new=[1, 2]),
        Change(key="a", kind="removed", old=1),
    )
    assert [change.text() for change in found] == ["0.1 -> 0.25", "- -> [1, 2]", "1 -> -"]


def test_nothing_changed() -> None:
    """A tuple is the list that JSON makes of it; none is none."""
    assert changes({"a": (1, 2), "b": None}, {"a": [1, 2], "b": None}) == ()
    assert Change(key="k", kind="changed", old=None, new=True).text() == "none -> True"
