"""``recap evaluate`` as a user meets it."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from scipy.stats import binomtest
from typer.testing import CliRunner, Result

from deployments.cli.evaluate_simulated import held_out_seeds
from deployments.cli.evaluation_facts import Tried, compare
from deployments.cli.main import app
from recap_core.config.base import Config
from recap_core.config.evaluation import EvaluationConfig
from recap_core.config.gate import GateConfig, GateDecision
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_recording
from recap_core.errors import ConfigError, RenderingError
from recap_core.evaluation.checkpoint_row import checkpoint_row
from recap_core.evaluation.gate_words import STOPPED_EARLY
from recap_core.lineage.artifacts import PolicyCheckpoint, Recording
from recap_core.lineage.keys import Stage
from recap_core.lineage.store import Build, Built, Store
from recap_core.sim.rendering import probe_rendering
from recap_core.stages.judge import episodes_of
from recap_core.stages.registry import CHECK_POLICY
from tests.judged_policies import PROJECT, make_evaluation, make_policy, make_round
from tests.simulated_policies import make_tiny_policy

OLD = [0, 1, 1] * 10
NEW = [1, 1, 0] * 5 + [1] * 15


@pytest.fixture
def store(recap_home: Path) -> Store:
    """A candidate and the policy in use, both evaluated on 30 seeds; nobody can load them."""
    store = Store(recap_home)
    old, new = make_policy(store, "old"), make_policy(store, "new")
    make_evaluation(store, old, OLD)
    make_evaluation(store, new, NEW)
    make_round(store, 1, new, GateDecision(verdict="candidate"))
    store.set_ref(f"{PROJECT}/current", old)
    store.set_ref(f"{PROJECT}/candidate", new)
    return store


def recap(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def answer(*arguments: str) -> dict[str, Any]:
    done = recap(*arguments, "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


def test_the_table_agrees_with_a_calculation_by_hand(store: Store) -> None:
    """Ten gained, five lost: rates, Wilson and McNemar as SciPy has them; nothing is run anew.

    statsmodels 0.15.0 gave the same, once: proportion_confint(25, 30, method="wilson") and
    mcnemar([[15, 10], [5, 0]], exact=True).pvalue = 0.3018.
    """
    del store
    told = answer("evaluate", "--episodes", "30")

    new, old = told["policies"]
    assert (new["num_successes"], old["num_successes"]) == (25, 20)
    for row in (new, old):
        expected = binomtest(row["num_successes"], 30).proportion_ci(method="wilson")
        assert row["interval"] == pytest.approx([expected.low, expected.high])
        assert row["rate"] == row["num_successes"] / 30
        # Each episode of the fixture takes ten frames, at ten per second.
        assert row["per_hour"] == pytest.approx(row["num_successes"] * 3600 / 30)
        assert row["per_1000_frames"] == pytest.approx(row["num_successes"] * 1000 / 300)
    [compared] = told["comparisons"]
    gained = [500_000 + i for i in range(30) if NEW[i] and not OLD[i]]
    assert compared["gained_seeds"] == gained
    assert compared["lost_seeds"] == [500_000 + i for i in range(30) if OLD[i] and not NEW[i]]
    p_value = binomtest(10, 15).pvalue
    assert compared["overall"]["p_value"] == pytest.approx(p_value)
    assert p_value == pytest.approx(0.3018, abs=1e-4)
    assert compared["sequential"]["verdict"] == "continue"
    assert compared["sequential"]["estimate"] == pytest.approx(5 / 30)


def test_people_read_a_table_and_what_to_do_next(store: Store) -> None:
    """A row per policy, sentences, and the command that promotes what the gate would let pass."""
    better = make_policy(store, "best")
    make_evaluation(store, better, [1] * 30)

    done = recap("evaluate", "candidate", better.id, "--episodes", "30", "--at-least", "0.5")

    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())
    assert "25 83.3 % [66.4, 92.7]" in text
    assert "candidate (new-" in text
    assert "failed: 5 fell off the table" in text
    assert "same seeds, 10 gained and 5 lost; p = 0.3)" in text
    assert f"best-{better.id[:8]}: Decided: its success rate is above 50 %" in text
    assert f"Next: recap promote best-{better.id[:8]} --project {PROJECT}" in text


def test_it_stops_early_where_eight_seeds_in_a_row_are_gained(store: Store) -> None:
    """One block of 25 seeds decides; what is published has no more."""
    old, new = make_policy(store, "weak"), make_policy(store, "strong")
    make_evaluation(store, old, [0] * 150)
    make_evaluation(store, new, [1] * 150)

    told = answer("evaluate", new.id, "--against", old.id, "--stop-early")

    assert [row["num_episodes"] for row in told["policies"]] == [25, 25]
    [compared] = told["comparisons"]
    assert compared["sequential"]["verdict"] == "better"
    assert compared["sequential"]["num_pairs_at_verdict"] == 25
    assert told["next"] is None  # the reference is not the policy in use
    store.set_ref(f"{PROJECT}/current", old)
    reasons = answer("promote", new.id)["reasons"]
    assert "succeeds in 150 of 150 episodes" in reasons[1]  # not hidden by the shorter one
    assert STOPPED_EARLY in compared["reasons"]
    assert STOPPED_EARLY not in reasons


def test_stopping_early_asks_what_the_settings_ask(store: Store) -> None:
    """The gate's least number and gain of --set; every question; the confidence in the header."""
    old, new = make_policy(store, "weak"), make_policy(store, "strong")
    make_evaluation(store, old, [0] * 150)
    make_evaluation(store, new, [1, 0] * 75)
    stop = ("evaluate", new.id, "--against", old.id, "--stop-early")
    better = ("-s", "iteration.gate.rule=better", "-s", "iteration.gate.min_gain=0.3")

    def num_seeds(*more: str) -> int:
        return answer(*stop, *more)["policies"][0]["num_episodes"]

    assert num_seeds() == 25
    assert num_seeds("-s", "iteration.gate.min_episodes=60") == 75
    told = answer(*stop, *better)
    assert told["policies"][0]["num_episodes"] == 75
    assert "by more than 30 points" in told["comparisons"][0]["sequential"]["sentence"]
    assert num_seeds("--at-least", "0.4") == 150
    alone = answer("evaluate", new.id, "--against", new.id, "--stop-early", "--at-least", "0.9")
    assert [row["num_episodes"] for row in alone["policies"]] == [25]
    assert "success [90 %]" in recap(*stop, "-s", "iteration.evaluation.confidence=0.9").output


class Terminal(io.StringIO):
    """What a person types, or reads."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def test_what_fails_offline_is_not_offered_and_nothing_is_promoted_unseen(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check without a robot holds a policy back; a yes to the offer shows the comparison."""
    best = make_policy(store, "best")
    make_evaluation(store, best, [1] * 30)
    shown = Terminal()
    with monkeypatch.context() as terminal:
        terminal.setattr("sys.stdin", Terminal("y\nn\n"))
        terminal.setattr("sys.stdout", shown)
        with pytest.raises(typer.Abort):
            app(["evaluate", best.id, "--episodes", "30"], standalone_mode=False)

    assert store.refs()[f"{PROJECT}/current"] != best.id
    assert "to replace old-" in shown.getvalue()  # recap promote's own words

    def build(area: Build) -> Built:
        (area.output / "offline.json").write_text("{}")
        return Built(
            {"num_episodes": 1, "num_frames": 1, "seen_in_training": False, "failed": ("range",)}
        )

    store.produce(CHECK_POLICY, Config(), {"policy": best}, name="best", build=build)
    told = answer("evaluate", best.id, "--episodes", "30")
    assert told["comparisons"][0]["verdict"] == "kept"
    assert told["next"] is None


def test_seeds_that_evaluations_use_are_held_out(store: Store) -> None:
    """The project's, as many as were asked for or used; others; not those that were recorded."""
    policy = make_policy(store, "new")
    for first_seed, num_episodes in ((500_000, 160), (600_000, 2), (710_000, 3)):
        config = EvaluationConfig(first_seed=first_seed, num_episodes=num_episodes)
        make_evaluation(store, policy, [1] * num_episodes, config=config)

    saved = EvaluationConfig(num_episodes=150)

    used = [range(500_000, 500_160), range(600_000, 600_002)]
    assert held_out_seeds(store, saved, 20) == used
    assert held_out_seeds(store, saved, 300) == [range(500_000, 500_300), used[1]]


def session(
    store: Store, name: str, driver: PolicyCheckpoint, num_successes: int, **more: str
) -> Recording:
    """Twelve passive episodes that name their policy; the operator took over in one more."""

    def build(area: Build) -> Built:
        episodes = [SyntheticEpisode(success=i < num_successes) for i in range(12)]
        episodes.append(SyntheticEpisode(success=True, interventions=(3, 4)))
        write_synthetic_recording(area.output, episodes, robot=SyntheticRobot(cameras=()))
        for path in area.output.glob("episode_*/metadata.json"):
            said = {"mode": "evaluation", "policy_ids": [driver.id], "failure_reason": "slipped"}
            path.write_text(json.dumps({**json.loads(path.read_text()), **said, **more}))
        (area.output / "session_summary.json").write_text(json.dumps({"discarded": 2}))
        return Built(
            {
                "num_episodes": 13,
                "num_frames": 156,
                "num_successes": num_successes + 1,
                "num_intervention_frames": 2,
                "fps": 10,
                "task": "transfer cube",
                "mode": "rollout",
                "round_index": 1,
            }
        )

    stage = Stage(f"session-{name}", 1, Recording)
    return store.produce(stage, Config(), {}, name=name, build=build)


def test_an_operators_sessions_are_scored_and_compared(store: Store) -> None:
    """Who drove is known from the episodes; an episode with a takeover is disqualified by name."""
    old, new = (store.get_ref(f"{PROJECT}/{ref}") for ref in ("current", "candidate"))
    assert isinstance(old, PolicyCheckpoint)
    assert isinstance(new, PolicyCheckpoint)
    monday, tuesday = session(store, "monday", old, 3), session(store, "tuesday", new, 11)

    told = answer("evaluate", "-r", tuesday.id, "-r", monday.id)

    first, second = told["policies"]
    assert (first["policy"], second["policy"]) == (new.id, old.id)
    assert (first["num_episodes"], first["num_successes"]) == (12, 11)
    assert first["per_hour_with_resets"] == pytest.approx(11 / 12 * 3.6)  # a start every 1000 s
    assert second["failures"] == {"slipped": 9}
    [left] = first["left_out"]
    assert left["why"] == "disqualified: somebody took over for 2 frames"
    [compared] = told["comparisons"]
    assert compared["overall"]["is_paired"] is False
    assert compared["sequential"] is None  # nobody can say that the scenes were the same
    text = " ".join(recap("evaluate", "-r", tuesday.id).output.split())
    assert "disqualified: somebody took over for 2 frames" in text
    assert "counted as failures they make 11 of 13 (84.6 %)" in text
    assert first["num_discarded"] == 2
    assert "2 episodes discarded while recording" in text
    assert "had failed, it would be 11 of 15 (73.3 %)" in text
    scored = answer("score", tuesday.id)
    assert (scored["num_successes"], scored["num_episodes"]) == (11, 12)
    counted = answer("evaluate", "-r", tuesday.id, "--takeovers-fail")["policies"][0]
    assert (counted["num_successes"], counted["num_episodes"]) == (11, 13)
    assert counted["failures"]["somebody took over"] == 1


def test_sessions_are_compared_under_one_rule(store: Store) -> None:
    """One was no evaluation: then takeovers are failures in both; other tasks say nothing."""
    old, new = (make_policy(store, name) for name in ("old", "new"))
    monday = session(store, "monday", old, 3, mode="rollout")
    tuesday = session(store, "tuesday", new, 11)
    other = session(store, "other", new, 12, task_instruction="open the drawer")

    told = answer("evaluate", "-r", tuesday.id, "-r", monday.id)
    apart = answer("evaluate", "-r", other.id, "-r", monday.id)["comparisons"][0]

    assert [row["num_episodes"] for row in told["policies"]] == [13, 13]
    assert told["comparisons"][0]["overall"] is not None
    assert (apart["overall"], apart["sequential"], apart["gained_seeds"]) == (None, None, [])
    text = recap("evaluate", "-r", other.id, "-r", monday.id).output
    assert "there is nothing to compare" in " ".join(text.split())
    assert "Decided" not in text


def test_what_cannot_be_compared_has_no_other_test_either(store: Store) -> None:
    """The same seeds under another limit: what went differently may be the limit's doing."""

    def tried(name: str, success: int, max_frames: int) -> Tried:
        config = EvaluationConfig(num_episodes=30, max_episode_frames=max_frames)
        policy = make_policy(store, name)
        evaluation = make_evaluation(store, policy, [success] * 30, config=config)
        outcomes = tuple(episodes_of(evaluation, store))
        row = checkpoint_row(name, outcomes, fps=10, max_frames=max_frames)
        return Tried(name, policy, evaluation, outcomes, row)

    was, short, long = tried("weak", 0, 60), tried("strong", 1, 60), tried("other", 1, 90)
    found, refused = (
        compare(one, was, gate=GateConfig(), offline=None, store=store) for one in (short, long)
    )

    assert len(found.gained) == 30
    assert found.test is not None
    assert (refused.decision.overall, refused.test, refused.gained) == (None, None, ())


def test_what_does_not_go_together_is_refused(store: Store) -> None:
    """Recorded episodes have been run; stopping early needs something to decide."""
    recording = session(store, "wednesday", make_policy(store, "old"), 4)

    new = make_policy(store, "new").id
    for arguments, message in (
        (("-r", recording.id, "--episodes", "5"), "--episodes and --recording exclude"),
        (("--takeovers-fail",), "are of recordings"),
        (("-r", recording.id, "old", "new"), "2 policies and 1 recordings"),
        (("-s", "iteration.judge=operator"), "judged by an operator"),
        (("-r", recording.id, "--against", new), "no recording is of that policy"),
        ((new, "--against", new, "--stop-early"), "would be compared with itself"),
        (("-s", "iteration.collect.num_episodes=3"), "would change nothing here"),
    ):
        done = recap("evaluate", *arguments)
        assert isinstance(done.exception, ConfigError), done.output
        assert message in str(done.exception)


def test_two_policies_really_drive_the_simulator(recap_home: Path, tmp_path: Path) -> None:
    """On equal seeds, recorded with every file; the recording scores as the evaluation does."""
    store = Store(recap_home)
    one, other = make_tiny_policy(store, "one", 1), make_tiny_policy(store, "other", 2)
    store.set_ref(f"{PROJECT}/current", other)
    store.set_ref(f"{PROJECT}/candidate", one)
    settings = ["iteration.evaluation.max_episode_frames=5", "runtime.collect.num_robots=3"]
    options = [part for setting in settings for part in ("-s", setting)]
    blind = ["-s", "iteration.collect.robot.cameras=[]"]

    told = answer("evaluate", "--episodes", "3", "--record", *options, *blind)

    assert told["first_seed"] == 710_000  # apart from the held-out ones
    assert "apart from the held-out ones (500000 to 500149)" in told["notes"][0]
    assert [row["label"][:5] for row in told["policies"]] == ["one-" + one.id[0], "other"]
    recordings = [store.get(identity) for identity in told["recordings"]]
    for recording, row in zip(recordings, told["policies"], strict=True):
        assert isinstance(recording, Recording)
        assert (recording.num_episodes, recording.num_intervention_frames) == (3, 0)
        assert recording.parents == (row["policy"],)
        for path in sorted(store.path(recording).glob("episode_*")):
            metadata = json.loads((path / "metadata.json").read_text())
            assert metadata["mode"] == "evaluation"
            assert metadata["seed"] == 710_000 + metadata["attempt"]
            assert set(np.load(path / "phase.npy")) == {"autonomous"}
            assert metadata["num_steps"] == 5
        [scored] = answer("evaluate", "-r", recording.id)["policies"]
        assert scored["num_successes"] == row["num_successes"]
        assert scored["num_episodes"] == 3
    _check_films(tmp_path / "films", options)


def _check_films(directory: Path, options: list[str]) -> None:
    """The same seeds again, filmed: one page that holds its videos."""
    try:
        probe_rendering()
    except RenderingError:
        return
    films = ["--videos", "failures", "--videos-limit", "1", "-o", str(directory)]
    told = answer("evaluate", "--episodes", "3", "--first-seed", "710000", *films, *options)

    page = Path(told["videos"]).read_text()
    assert page.count("data:video/mp4;base64,") == 2
    assert "seed 710000" in page
    assert "2 more not filmed" in page
    assert "another processor" not in page
    assert len(list(directory.glob("*.mp4"))) == 2
