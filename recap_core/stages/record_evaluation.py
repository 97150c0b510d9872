"""Evaluation episodes in simulation, recorded as rollouts: nobody takes over, all is kept."""

import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from recap_core.config.collection import CollectRuntime
from recap_core.config.evaluation import EvaluationConfig, RecordEvaluationConfig
from recap_core.lineage.artifacts import PolicyCheckpoint, Recording
from recap_core.lineage.device_lock import device_lock
from recap_core.lineage.store import Build, Built, Store
from recap_core.progress import Progress, Silent
from recap_core.stages.registry import RECORD_EVALUATION

if TYPE_CHECKING:
    from recap_core.collection.recorder import EpisodeRecorder
    from recap_core.evaluation.outcome import EpisodeOutcome
    from recap_core.rollout.frame import Frame, Outcome
    from recap_core.sim.aloha import SimAloha

OUTCOMES_FILE: Final = "outcomes.json"
"""How every episode went, as the stage ``evaluate`` has it."""


def record_evaluation(  # noqa: PLR0913 - all but the first two by name
    policy: PolicyCheckpoint,
    config: RecordEvaluationConfig,
    *,
    name: str,
    store: Store,
    runtime: CollectRuntime | None = None,
    progress: Progress | None = None,
) -> Recording:
    """Run autonomous episodes and record them with the files that every collection has.

    Every ``metadata.json`` says ``mode: evaluation`` and the seed of the scene.

    Raises:
        RenderingError: If the config has cameras and there is no GL context.
    """
    num_robots = (runtime or CollectRuntime()).num_robots

    def build(area: Build) -> Built:
        from recap_core.data.session import read_session
        from recap_core.evaluation.episodes import Watching, evaluate

        studio = _Recorders(config, area.output)
        with device_lock(progress):
            from recap_core.serving.policy import LoadedPolicy

            outcomes = evaluate(
                LoadedPolicy.load(store.path(policy), batch_size=num_robots),
                config.evaluation,
                num_robots=num_robots,
                progress=progress or Silent(),
                watching=Watching(studio.witness, reads_images=True),
            )
        rows = [outcome.model_dump(mode="json", exclude_none=True) for outcome in outcomes]
        (area.output / OUTCOMES_FILE).write_text(json.dumps(rows, indent=1) + "\n")
        facts = read_session(area.output, warn=False)
        details = {
            "num_episodes": facts.num_episodes,
            "num_frames": facts.num_frames,
            "num_successes": facts.num_successes,
            "num_intervention_frames": facts.num_intervention_frames,
            "fps": config.evaluation.robot.fps,
            "task": facts.task,
            "mode": "rollout",
            "round_index": config.round_index,
            "cameras": facts.cameras,
        }
        return Built(details, {"num_intervention_episodes": facts.num_intervention_episodes})

    return store.produce(RECORD_EVALUATION, config, {"policy": policy}, name=name, build=build)


def outcomes_of(recording: Recording, store: Store) -> "list[EpisodeOutcome]":
    """How the episodes of a recorded evaluation went, in order of their seeds."""
    from recap_core.evaluation.outcome import EpisodeOutcome

    text = (store.path(recording) / OUTCOMES_FILE).read_text(encoding="utf-8")
    return [EpisodeOutcome.model_validate(row) for row in json.loads(text)]


class _Recorders:
    """A recorder per episode."""

    def __init__(self, config: RecordEvaluationConfig, output: Path) -> None:
        self._config = config
        self._output = output

    def witness(self, seed: int, robot: "SimAloha") -> "_RecordedEpisode":
        """The recorder of the episode of that seed."""
        from recap_core.collection.recorder import EpisodeRecorder, RecorderSettings
        from recap_core.collection.session import EPOCH

        evaluation = self._config.evaluation
        index, start = seed - evaluation.first_seed, _start(evaluation, seed, EPOCH)
        settings = RecorderSettings(
            fps=evaluation.robot.fps,
            cameras=tuple(camera.name for camera in evaluation.robot.cameras),
            image_px=evaluation.robot.image_px,
            metadata={**_metadata(self._config), "attempt": index, "seed": seed},
        )
        directory = self._output / f"episode_{start:%Y%m%d_%H%M%S}_{index:04d}"
        return _RecordedEpisode(EpisodeRecorder(directory, settings), start, robot.config.fps)


class _RecordedEpisode:
    """Gives every frame the time of a simulated clock that goes on from episode to episode."""

    def __init__(self, recorder: "EpisodeRecorder", start: dt.datetime, fps: int) -> None:
        self._recorder = recorder
        self._start_s = start.timestamp()
        self._fps = fps

    def record(self, frame: "Frame") -> None:
        """Keep it."""
        time_s = self._start_s + frame.frame_index / self._fps
        self._recorder.record(frame._replace(time_s=time_s))

    def finish(self, outcome: "Outcome") -> None:
        """Write the episode."""
        self._recorder.finish(outcome)


def _start(config: EvaluationConfig, seed: int, epoch: dt.datetime) -> dt.datetime:
    longest_s = -(-config.max_episode_frames // config.robot.fps)
    return epoch + dt.timedelta(seconds=(seed - config.first_seed) * (longest_s + 1))


def _metadata(config: RecordEvaluationConfig) -> dict[str, Any]:
    robot = config.evaluation.robot
    return {
        "task_instruction": robot.instruction,
        "mode": "evaluation",
        "round_index": config.round_index,
        "robot_type": robot.kind,
        "clock": "simulated",
    }
