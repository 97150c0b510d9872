"""``recap value evaluate``, ``audit`` and ``video`` as a user meets them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deployments.cli.main import app
from recap_core.config.annotations import EpisodeAnnotation
from recap_core.config.stages import InferValuesConfig
from recap_core.data.frames import read_frames
from recap_core.data.video_files import read_frames_in_order, rgb
from recap_core.errors import ConfigError, DataError, IncompatibleError
from recap_core.lineage.artifacts import Artifact
from recap_core.stages.infer_values import infer_values
from tests.simulated_values import SimulatedValues


@pytest.fixture
def here(simulated: SimulatedValues, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory beside the store of the simulated values."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECAP_HOME", str(simulated.store.home))
    return tmp_path


def recap_value(*arguments: object) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, ["value", *map(str, arguments)])


def named(artifact: Artifact) -> str:
    return f"{artifact.name}-{artifact.id[:8]}"


def test_a_healthy_model_is_evaluated(simulated: SimulatedValues, here: Path) -> None:
    """By default on what it was not trained on: exit code 0, a page with five stories."""
    model = simulated.value_model(simulated.dataset)

    done = recap_value("evaluate", named(model), "--html", "value.html")

    assert done.exit_code == 0, done.output
    assert "12 held-out episodes: " in done.stdout
    assert "  healthy\n" in done.stdout
    assert "rank correlation   0." in done.stdout
    page = (here / "value.html").read_text(encoding="utf-8")
    assert all(word in page for word in ("Best episode", "Median episode", "orst episode"))
    assert "ost like a success" in page
    assert "Cross-entropy" in page


def test_other_episodes_of_another_dataset(simulated: SimulatedValues, here: Path) -> None:
    """Of a corrected dataset, one wrong mark comes first; trained episodes are named as such."""
    del here
    model = simulated.value_model(simulated.dataset)
    success = read_frames(simulated.store.path(simulated.dataset)).success
    wrong = int(success.argmin())
    mark = EpisodeAnnotation(episode=simulated.names[wrong], outcome="success")
    other = simulated.corrected(mark)

    done = recap_value("evaluate", named(model), named(other), "--split", "0-29", "--json")

    told = json.loads(done.stdout)
    assert told["healthy"] == (done.exit_code == 0)
    assert told["episodes"] == list(range(30))
    assert any("18 of these 30 episodes were used in training" in note for note in told["warnings"])
    first = told["audit"][0]
    assert first["episode_index"] == wrong
    assert first["command"] == f"recap annotate {named(other)} -e {wrong} --outcome failure"
    assert told["metrics"]["held_out_num_frames"] == other.num_frames


def test_an_unhealthy_verdict_is_an_exit_code(simulated: SimulatedValues, here: Path) -> None:
    """Two episodes say nothing: exit code 1, with the reason."""
    model = simulated.value_model(simulated.dataset)

    done = recap_value("evaluate", named(model), "--split", "0,1", "--html", "x.html")

    assert done.exit_code == 1
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert "NOT healthy" in done.stdout
    assert "are held out, at least 2 of each are needed" in done.stdout
    assert "not healthy" in (here / "x.html").read_text(encoding="utf-8")


def test_stored_values_are_audited(simulated: SimulatedValues, here: Path) -> None:
    """All episodes of the dataset, by values or by the model that they come from."""
    del here
    model = simulated.value_model(simulated.dataset)
    before = recap_value("audit", named(model)).exception
    assert before is None or isinstance(before, DataError)
    store = simulated.store
    values = infer_values(
        simulated.dataset, model, InferValuesConfig(), name="day-values", store=store
    )

    by_values = recap_value("audit", named(values), "--json")
    by_model = recap_value("audit", named(model))

    told = json.loads(by_values.stdout)
    assert told["num_audited"] == 30
    assert all(row["score"] >= 0.5 for row in told["episodes"])
    assert told["healthy"] == model.healthy
    assert by_model.exit_code == 0
    assert f"of {30} episodes" in by_model.stdout
    # Without it, a correction would count in no round.
    assert ("add --project PROJECT/ROBOT" in by_model.stdout) == bool(told["episodes"])


@pytest.mark.parametrize("by_model", [True, False])
def test_a_video_of_an_episode(simulated: SimulatedValues, here: Path, *, by_model: bool) -> None:
    """One picture per frame, from stored values or valued on the way; never over an old one."""
    store, dataset = simulated.store, simulated.dataset
    model = simulated.value_model(dataset)
    values = infer_values(dataset, model, InferValuesConfig(), name="day-values", store=store)
    judge = named(model if by_model else values)

    done = recap_value("video", judge, named(dataset), "-e", 3, "three.mp4")

    assert done.exit_code == 0, done.output
    frames = [rgb(frame) for frame in read_frames_in_order(here / "three.mp4", start_s=0.0)]
    assert len(frames) == read_frames(store.path(dataset)).episode_lengths[3]
    again = recap_value("video", judge, named(dataset), "-e", 3, "three.mp4").exception
    assert isinstance(again, DataError)


def test_what_cannot_be_judged_is_said(simulated: SimulatedValues, here: Path) -> None:
    """Wrong kinds, wrong splits, wrong names: one line each."""
    model, dataset = simulated.value_model(simulated.dataset), simulated.dataset

    def problem(*arguments: object) -> BaseException | None:
        return recap_value(*arguments).exception

    assert isinstance(problem("evaluate", named(dataset)), IncompatibleError)
    assert isinstance(problem("audit", named(dataset)), IncompatibleError)
    assert isinstance(
        problem("video", named(dataset), named(dataset), "-e", 0, "x.mp4"), IncompatibleError
    )
    assert "0 to 29" in str(problem("evaluate", named(model), "--split", "30"))
    assert "choose held_out, test" in str(problem("evaluate", named(model), "--split", "tests"))
    assert isinstance(problem("video", named(model), named(dataset), "-e", 0, "x.gif"), ConfigError)
    assert "0 to 29" in str(problem("video", named(model), named(dataset), "-e", 30, "x.mp4"))
    assert not list(here.iterdir())
