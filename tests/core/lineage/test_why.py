"""Why something ran anew: what differs from the nearest earlier result, in terms of the key."""

import pytest
from lineage_toys import REPORT, STATS, ToyConfig, make_report, make_stats, writes

from recap_core.lineage.artifacts import Artifact, Recording
from recap_core.lineage.keys import Stage
from recap_core.lineage.store import Build, Built, Store
from recap_core.lineage.why import History, Input, Planned, Why, why_made, why_run

RECORD = Stage("toy_record", 1, Recording)


def _why(store: Store, artifact: Artifact, **options: object) -> Why:
    history = History.of(store, **options)  # pyright: ignore[reportArgumentType]
    return why_made(history, history.manifests[artifact.id])


def _told(why: Why) -> list[tuple[str, str, object, object]]:
    return [(d.what, d.subject, d.before, d.after) for d in why.differences]


def test_a_changed_setting_is_named_with_both_values(store: Store) -> None:
    """A default too, where it is known."""
    store.produce(STATS, ToyConfig(), {}, name="stats", build=writes())
    made = store.produce(STATS, ToyConfig(scale=3.0), {}, name="stats", build=writes())

    assert _told(_why(store, made)) == [("setting", "scale", "its default", 3.0)]
    written_out = _why(store, made, expand=lambda _, config: ToyConfig(**config).model_dump())
    assert _told(written_out) == [("setting", "scale", 1.0, 3.0)]
    assert written_out.parts.settings == {"scale": 3.0}


def test_a_raised_version_is_named(store: Store) -> None:
    """Its code changed results."""
    store.produce(STATS, ToyConfig(), {}, name="stats", build=writes())
    raised = Stage("toy_stats", 2, STATS.produces)
    made = store.produce(raised, ToyConfig(), {}, name="stats", build=writes())

    assert _told(_why(store, made)) == [("version", "toy_stats", 1, 2)]


def test_a_changed_input_is_followed_to_what_changed_it(store: Store) -> None:
    """Down to the setting of the stage that made it; told once."""
    old, new = make_stats(store, "old"), make_stats(store, "new")
    make_report(store, "report", stats=old, again=old)
    made = make_report(store, "report", stats=new, again=new)

    first, second = _why(store, made).differences
    assert (first.what, first.subject) == ("input", "stats")
    assert (first.before, first.after) == (f"stats-{old.id[:8]}", f"stats-{new.id[:8]}")
    (reason,) = first.because
    assert (reason.what, reason.subject, reason.before, reason.after) == (
        "setting", "text", "old", "new"
    )  # fmt: skip
    assert second.is_told
    assert second.because == ()


def test_one_more_of_several_inputs_is_new(store: Store) -> None:
    """What both had is not mentioned."""
    one, two = make_stats(store, "one"), make_stats(store, "two")
    build = _page("page")
    store.produce(REPORT, ToyConfig(), {"s": [one]}, name="page", build=build)
    made = store.produce(REPORT, ToyConfig(), {"s": [one, two]}, name="page", build=build)

    assert _told(_why(store, made)) == [("input", "s", None, f"stats-{two.id[:8]}")]


def test_recordings_end_the_explanation(store: Store) -> None:
    """They were collected by another policy each; that is a round before, and not followed."""
    reports = []
    for text in ("one", "two"):
        policy = make_stats(store, text)
        recording = _recorded(store, text, policy)
        reports.append(make_report(store, "report", recording=recording))

    (difference,) = _why(store, reports[1]).differences
    assert [d.what for d in difference.because] == ["setting"]


def test_the_nearest_has_a_name_of_the_same_kind(store: Store) -> None:
    """``round-2`` is compared with ``round-1``, although a later ``control`` differs less."""
    source = make_stats(store, "source")
    for name, text in (("round-1", "a"), ("control", "b"), ("round-2", "c")):
        made = store.produce(
            STATS, ToyConfig(text=text, scale=2.0), {"s": source}, name=name, build=writes(text)
        )

    nearest = _why(store, made).nearest
    assert nearest is not None
    assert nearest.label.startswith("round-1-")


def test_the_first_of_its_stage_has_nothing_to_differ_from(store: Store) -> None:
    """It never ran before."""
    why = _why(store, make_stats(store, "text"))
    assert (why.nearest, why.differences) == (None, ())


def test_what_was_removed_still_explains(store: Store) -> None:
    """Its tombstone has the manifest; the same call again says that it was removed."""
    old = make_stats(store, "old")
    manifest = store.manifest(old)
    store.remove(old, reason="gc")
    made = make_stats(store, "new")

    why = _why(store, made)
    assert why.nearest is not None
    assert why.nearest.is_removed
    assert _told(why) == [("setting", "text", "old", "new")]

    history = History.of(store)
    parts = history.key_parts(STATS.id, STATS.version, manifest.config, ())
    again = why_run(history, Planned("stats", parts, manifest.stage_key, None))
    assert [(d.what, d.subject) for d in again.differences] == [("removed", "gc")]


def test_the_same_parts_with_other_content_are_said_to_be_that(store: Store) -> None:
    """A stage that draws, or code whose version was not raised."""
    first = store.produce(STATS, ToyConfig(), {}, name="stats", build=writes("a"))
    report = make_report(store, "report", stats=first)
    store.remove(first)
    second = store.produce(STATS, ToyConfig(), {}, name="stats", build=writes("b"))
    made = make_report(store, "report", stats=second)

    assert report != made
    (difference,) = _why(store, made).differences
    assert [d.what for d in difference.because] == ["content"]


def test_a_stage_that_awaits_its_input_says_why_that_is_made(store: Store) -> None:
    """An input that a plan expects is explained like one that is there."""
    old = make_stats(store, "old")
    make_report(store, "report", stats=old)
    history = History.of(store)
    expected = history.key_parts(STATS.id, STATS.version, {"text": "new"}, ())
    history.expect("planned-1", expected, "stats (to be made)")
    inputs = [Input(role="stats", id="planned-1", label=history.label("planned-1"))]
    parts = history.key_parts(REPORT.id, REPORT.version, {"text": "report"}, inputs)

    (difference,) = why_run(history, Planned("report", parts, None, None)).differences
    assert difference.after == "stats (to be made)"
    assert [(d.subject, d.after) for d in difference.because] == [("text", "new")]


@pytest.mark.parametrize("field", ["label", "key", "parts", "nearest", "differences"])
def test_the_answer_is_plain_json(store: Store, field: str) -> None:
    """For programs, with nothing left out."""
    make_stats(store, "old")
    assert field in _why(store, make_stats(store, "new")).model_dump(mode="json")


def _page(text: str):  # noqa: ANN202 - a build
    def build(area: Build) -> Built:
        (area.output / "index.html").write_text(text)
        return Built({})

    return build


def _recorded(store: Store, text: str, policy: Artifact) -> Recording:
    def build(area: Build) -> Built:
        (area.output / "x").write_text(text)
        return Built(
            {
                "num_episodes": 1, "num_frames": 1, "num_successes": 0, "fps": 10, "task": "t",
                "num_intervention_frames": 0, "mode": "rollout", "round_index": 1,
            }
        )  # fmt: skip

    config = ToyConfig(text=text)
    return store.produce(RECORD, config, {"policy": policy}, name="r", build=build)
