"""A stage that is executed anew although its result exists."""

from pathlib import Path

import pytest

from recap_core.lineage.artifacts import NormStats
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.registry import NORM_STATS, NoSettings


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def make(home: Path, text: str, *, name: str = "made", refresh: tuple[str, ...] = ()) -> NormStats:
    """Publish ``text`` under the one key of these tests, or find what is there."""

    def build(area: Build) -> Built:
        (area.output / "data.txt").write_text(text)
        return Built({"num_frames": 3})

    store = Store(home, refresh=refresh)
    return store.produce(NORM_STATS, NoSettings(), {}, name=name, build=build)


def found(home: Path) -> object:
    return Store(home).find(NORM_STATS, NoSettings(), {})


def test_without_a_refresh_the_stored_result_is_returned(home: Path) -> None:
    """Also if another stage is refreshed."""
    first = make(home, "old")

    assert make(home, "new", refresh=("label",)) == first


def test_another_result_takes_the_place_of_the_old_one(home: Path) -> None:
    """From then on the key leads to it, and the old one is still there under its id."""
    old = make(home, "old")

    new = make(home, "new", refresh=("norm_stats",))

    assert new.id != old.id
    assert found(home) == new
    assert make(home, "neither") == new
    assert Store(home).get(old.id) == old
    Store(home).verify(old)


def test_an_equal_result_is_the_same_artifact(home: Path) -> None:
    """Whatever it is called, and although another one came between."""
    old = make(home, "old", name="first")
    make(home, "new", refresh=("norm_stats",))

    again = make(home, "old", name="third", refresh=("norm_stats",))

    assert again == old
    assert found(home) == old
    assert len(list(Store(home).artifacts())) == 2
    assert not list(home.glob(".tmp-*"))


def test_a_rebuilt_index_leads_to_the_newest(home: Path) -> None:
    """The manifests say when each was made."""
    make(home, "old")
    new = make(home, "new", refresh=("norm_stats",))

    Store(home).rebuild_index()

    assert found(home) == new
