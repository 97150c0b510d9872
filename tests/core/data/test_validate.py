"""What validation finds in datasets and recordings that readers accept."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from recap_core.config.validation import ValidateConfig
from recap_core.data.checks.episode import Episode
from recap_core.data.checks.finding import Finding
from recap_core.data.checks.motion import MotionCheck
from recap_core.data.checks.prompts import check_prompts
from recap_core.data.columns import STATE
from recap_core.data.merge import merge_datasets
from recap_core.data.synthetic import (
    SyntheticEpisode,
    SyntheticRobot,
    write_synthetic_dataset,
    write_synthetic_recording,
)
from recap_core.data.validate import require_valid, validate
from recap_core.data.video_files import encode_video
from recap_core.errors import DataError
from tests.core.data.damages import (
    CAMERA,
    DATA,
    EPISODES,
    VIDEO,
    Damage,
    column,
    info,
    metadata,
    put,
    write,
)

NO_CAMERA = SyntheticRobot(arms=("left",), cameras=())
ONE_CAMERA = NO_CAMERA._replace(cameras=("head_camera",))
LONG = SyntheticEpisode(length=40, interventions=tuple(range(10, 20)))


def found(findings: Sequence[Finding], check: str) -> list[str]:
    """Where and what of the findings of one check."""
    return [f"{f.where}: {f.value}" for f in findings if f.check == check]


@pytest.fixture(scope="module")
def rollouts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six healthy rollouts without pictures."""
    episodes = [LONG._replace(length=40 + i, success=i % 2 == 0) for i in range(6)]
    root = tmp_path_factory.mktemp("validate") / "rollouts"
    write_synthetic_dataset(root, episodes, NO_CAMERA)
    return root


def damaged(root: Path, tmp_path: Path, damage: Damage) -> list[Finding]:
    copy = shutil.copytree(root, tmp_path / "copy")
    damage(copy)
    return validate(copy)


@pytest.mark.parametrize("decode", ["none", "sampled", "all"])
def test_a_healthy_dataset_has_no_finding(dataset: Path, decode: str) -> None:
    """Three cameras, two tasks, both outcomes."""
    assert validate(dataset, ValidateConfig.model_validate({"decode": decode})) == []


def test_a_healthy_recording_has_no_finding(recording: Path) -> None:
    """The session that the dataset was made from."""
    assert validate(recording) == []


def state(frame: int, dim: int, value: float) -> Damage:
    def change(old: list[list[float]]) -> list[list[float]]:
        return [
            [value if (i, d) == (frame, dim) else x for d, x in enumerate(row)]
            for i, row in enumerate(old)
        ]

    return column(DATA, "observation.state", change)


def test_a_joint_that_jumps_is_named(rollouts: Path, tmp_path: Path) -> None:
    """Steps are 0.01; one of 3 in frame 5 of the second episode stands out."""
    (text,) = found(damaged(rollouts, tmp_path, state(45, 2, 4.0)), "jumps")

    assert text.startswith("observation.state[2] left_joint_2, episode 1, frame 5: a step of")


def test_a_command_that_switches_is_no_jump(rollouts: Path, tmp_path: Path) -> None:
    """A gripper command that opens and closes now and then is as it should be."""

    def switch(old: list[list[float]]) -> list[list[float]]:
        return [[*row[:6], float(i // 25 % 2)] for i, row in enumerate(old)]

    findings = damaged(rollouts, tmp_path, column(DATA, "action", switch))

    assert found(findings, "jumps") == []


def test_a_command_that_comes_back_at_once_is_a_jump(rollouts: Path, tmp_path: Path) -> None:
    """A single wrong sample in the actions."""
    findings = damaged(rollouts, tmp_path, column(DATA, "action", put({50: [9.0] * 7})))

    assert len(found(findings, "jumps")) == 7
    assert found(findings, "jumps")[0].startswith("action[0] left_joint_0, episode 1, frame 10")


def test_a_joint_that_never_moves_is_named(rollouts: Path, tmp_path: Path) -> None:
    """One dead sensor in the whole dataset."""

    def freeze(old: list[list[float]]) -> list[list[float]]:
        return [[*row[:3], 0.5, *row[4:]] for row in old]

    findings = damaged(rollouts, tmp_path, column(DATA, "observation.state", freeze))

    assert found(findings, "constant") == [
        "observation.state[3] left_joint_3: 0.5 in every frame of the dataset"
    ]


def test_an_episode_without_motion_is_named(rollouts: Path, tmp_path: Path) -> None:
    """The recorder repeated the first row of the first episode."""

    def hang(old: list[list[float]]) -> list[list[float]]:
        return [old[0]] * 40 + old[40:]

    findings = damaged(rollouts, tmp_path, column(DATA, "observation.state", hang))

    assert found(findings, "constant") == [
        "observation.state, episode 0: no dimension changes in 40 frames"
    ]


def test_the_same_episode_twice_is_found(rollouts: Path, tmp_path: Path) -> None:
    """A copied episode is a warning; one that a merge repeats on purpose is a note."""
    recording = write_synthetic_recording(tmp_path / "raw", [LONG, LONG], NO_CAMERA)
    names = sorted(path.name for path in recording.iterdir())
    shutil.rmtree(recording / names[1])
    shutil.copytree(recording / names[0], recording / names[1])
    (finding,) = [f for f in validate(recording) if f.check == "duplicates"]
    assert (finding.severity, finding.where.episode) == ("warning", names[1])

    from recap_core.data.merge import merge_datasets

    merge_datasets([rollouts, rollouts], tmp_path / "twice")
    (finding,) = [f for f in validate(tmp_path / "twice") if f.check == "duplicates"]
    assert (finding.severity, finding.num_places) == ("note", 6)


def test_lengths_that_stand_out(tmp_path: Path) -> None:
    """Five frames among episodes of forty."""
    episodes = [LONG._replace(length=40 + i) for i in range(5)] + [SyntheticEpisode(length=5)]
    write_synthetic_dataset(tmp_path / "out", episodes, NO_CAMERA)

    assert found(validate(tmp_path / "out"), "lengths") == ["episode 5: 5 frames; the median is 42"]


@pytest.mark.parametrize(
    ("episodes", "check", "text"),
    [
        ([LONG, LONG], "outcomes", "all 2 rollouts are successes"),
        ([LONG._replace(success=False)] * 2, "outcomes", "all 2 rollouts are failures"),
        ([LONG] * 9 + [LONG._replace(success=False)], "outcomes", "success rate 90.0%"),
        ([LONG._replace(interventions=(3,))], "interventions", "intervention rate 2.5%"),
        ([LONG._replace(interventions=tuple(range(30)))], "interventions", "rate 75.0%"),
        ([LONG._replace(interventions=())], "labels", "none in all 40 frames"),
        ([LONG._replace(success=False)], "outcomes", "value_label: -1 in every frame"),
    ],
)
def test_shares_outside_their_bands(
    tmp_path: Path, episodes: list[SyntheticEpisode], check: str, text: str
) -> None:
    """Outcomes, interventions and labels that teach little."""
    write_synthetic_dataset(tmp_path / "out", episodes, NO_CAMERA)

    assert any(text in line for line in found(validate(tmp_path / "out"), check))


def test_demonstrations_are_not_judged_as_rollouts(tmp_path: Path) -> None:
    """All human, all successful: that is what they are."""
    from recap_core.config.dataset import ConvertConfig

    write_synthetic_dataset(
        tmp_path / "out", [LONG, LONG], NO_CAMERA, config=ConvertConfig(demonstrations=True)
    )

    assert validate(tmp_path / "out") == []


def test_labels_that_stop_halfway(rollouts: Path, tmp_path: Path) -> None:
    """Negative here, none there: a relabel was broken off."""
    findings = damaged(rollouts, tmp_path, column(DATA, "adv_ind", put({0: "negative"})))

    assert found(findings, "labels")[0].startswith("adv_ind, episode 0, frame 1: none in ")


@pytest.mark.parametrize(
    ("tasks", "text"),
    [
        (["fold", " "], "task 1: ' '"),
        (["x" * 201], "..."),
        (["fold\nit"], r"task 0: 'fold\nit'"),
        (["Fold the shirt.", "fold  the shirt"], "'fold  the shirt' and 'Fold the shirt.'"),
    ],
)
def test_prompts_that_will_not_work(tasks: list[str], text: str) -> None:
    """Empty, too long, of several lines, or the same task written twice."""
    (finding,) = check_prompts(tasks)

    assert text in f"{finding.where}: {finding.value}"


def test_pictures_that_show_nothing(tmp_path: Path) -> None:
    """One camera is covered, one hangs from frame 10 on."""
    root = tmp_path / "out"
    write_synthetic_dataset(root, [LONG], ONE_CAMERA)
    dark = (np.zeros((32, 32, 3), dtype=np.uint8) for _ in range(40))
    encode_video(dark, root / VIDEO, fps=10)
    findings = validate(root)
    assert f"{CAMERA}, episode 0, frame 0: black (3 pictures)" in found(findings, "pictures")

    stuck = (np.full((32, 32, 3), 40 + 10 * min(i, 10), dtype=np.uint8) for i in range(40))
    encode_video(stuck, root / VIDEO, fps=10, keyframe_interval=1)
    findings = validate(root, ValidateConfig(decode="all"))
    assert found(findings, "pictures") == [
        f"{CAMERA}, episode 0, frame 10: the same picture for 3.0 s"
    ]


def test_strangers_in_the_data_directory(rollouts: Path, tmp_path: Path) -> None:
    """A backup that readers would take for data, and a note that they would not."""
    findings = damaged(
        rollouts,
        tmp_path,
        lambda root: [
            write("data/chunk-000/backup.parquet", b"")(root),
            write("data/notes.txt", b"")(root),
        ],
    )

    severities = {f.where.file: f.severity for f in findings if f.check == "files"}
    assert severities == {"data/chunk-000/backup.parquet": "error", "data/notes.txt": "warning"}


def test_a_recorder_that_drifts_and_drops(tmp_path: Path) -> None:
    """Rate against the nominal one, a pause, lost frames, no mark, an unfinished episode."""
    root = write_synthetic_recording(tmp_path / "raw", [LONG, LONG, LONG], ONE_CAMERA)
    slow, lossy, broken = sorted(root.iterdir())
    times = np.load(slow / "timestamps.npy")
    spread = times[0] + 1.2 * (times - times[0])
    spread[20:] += 1.0
    np.save(slow / "timestamps.npy", spread)
    np.save(slow / "head_camera_timestamps.npy", spread)
    frames = (np.full((32, 32, 3), 50 + i, dtype=np.uint8) for i in range(36))
    encode_video(frames, lossy / "head_camera.mp4", fps=10)
    kept = np.load(lossy / "head_camera_timestamps.npy")[[*range(30), *range(34, 40)]]
    np.save(lossy / "head_camera_timestamps.npy", kept)
    (lossy / "SUCCESS").unlink()
    (broken / "RECORDING_IN_PROGRESS").touch()

    findings = validate(root)

    rate = found(findings, "rate")
    assert any("6.87 frames per second; the recorder was set to 10" in line for line in rate)
    assert any("frame 19: 1.120 s without a tick" in line for line in rate)
    assert any("10.0% of the frames were dropped" in line for line in rate)
    assert f"{lossy.name}: neither SUCCESS nor FAILURE" in found(findings, "outcomes")
    assert f"{broken.name}: still being recorded" in found(findings, "recording")


def test_a_camera_of_another_clock(tmp_path: Path) -> None:
    """Its frames would all be taken for the last moment."""
    root = write_synthetic_recording(tmp_path / "raw", [LONG], ONE_CAMERA)
    (episode,) = root.iterdir()
    np.save(episode / "head_camera_timestamps.npy", np.arange(40) / 10)

    (finding,) = [f for f in validate(root) if f.check == "rate"]
    assert finding.severity == "error"


def test_a_state_of_one_dimension_may_jump_too() -> None:
    """It is read as a column of numbers; one reading is far off."""
    values = np.arange(60, dtype=np.float32) / 100
    values[20] = 9
    check = MotionCheck(ValidateConfig(), {})

    assert not list(check.look(Episode("one", 0, {STATE: values}, success=True)))
    assert found(list(check.finish()), "jumps") == [
        "observation.state[0], one, frame 20: a step of 8.81; most are below 0.01"
    ]


def test_the_same_finding_everywhere_is_one_line(rollouts: Path, tmp_path: Path) -> None:
    """Six episodes with wrong times: one finding, with a count and examples."""
    findings = damaged(rollouts, tmp_path, info(fps=20))

    (finding,) = [f for f in findings if f.where.feature == "timestamp"]
    assert (finding.num_places, len(finding.examples)) == (6, 5)


def test_a_stage_can_insist(rollouts: Path, tmp_path: Path) -> None:
    """Warnings pass; the first error is named, and how many more there are."""
    require_valid(rollouts)

    copy = shutil.copytree(rollouts, tmp_path / "copy")
    column(DATA, "frame_index", put({4: 9}))(copy)
    column(DATA, "reward", put({4: 9.0}))(copy)
    message = r"not valid: frame_index, episode 0, frame 4: 9 .*the first of 2 errors"
    with pytest.raises(DataError, match=message):
        require_valid(copy)
    with pytest.raises(DataError, match="there is no directory"):
        require_valid(tmp_path / "nowhere")


def test_a_recording_with_a_lying_task(tmp_path: Path) -> None:
    """Two spellings of one task in one session."""
    root = write_synthetic_recording(tmp_path / "raw", [LONG, LONG], NO_CAMERA)
    metadata("metadata.json", task_instruction="Transfer  cube")(max(root.iterdir()))

    assert len(found(validate(root), "prompts")) == 1


def test_a_merge_with_repeats_is_healthy(small_dataset: Path, tmp_path: Path) -> None:
    """Repeats of an episode share its frames; other episodes may not."""
    merge_datasets([small_dataset], tmp_path / "merged", repeats=[2])
    assert not [f for f in validate(tmp_path / "merged") if f.severity == "error"]

    names = {0: "a", 1: "b", 2: "c", 3: "d"}
    (tmp_path / "merged" / EPISODES).chmod(0o644)
    column(EPISODES, "raw_episode", put(names))(tmp_path / "merged")
    (text,) = found(validate(tmp_path / "merged"), "videos")
    assert text.endswith("episode 2: 6 frames belong to another episode too")
