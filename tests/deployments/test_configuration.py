"""Settings from a preset, a file and overrides; every mistake is one helpful line."""

from pathlib import Path

import pytest

from deployments.cli.configuration import load_settings
from deployments.cli.options import Preset
from deployments.cli.projects import SetUp, demo_project, project
from deployments.cli.resolution import without_cameras
from recap_core.config.presets import tiny_project
from recap_core.errors import ConfigError

TINY = tiny_project(cameras=False)


def test_nothing_changes_without_a_file_and_overrides() -> None:
    """The way through JSON and back loses nothing."""
    assert load_settings(TINY, file=None, overrides=[]) == TINY


def test_overrides_win_over_the_file_and_the_file_over_the_preset(tmp_path: Path) -> None:
    """Settings that nobody names keep the preset's value."""
    file = tmp_path / "recap.yaml"
    file.write_text("robot: yam\niteration: {label: {lookahead: 9, positive_share: 0.5}}\n")

    loaded = load_settings(TINY, file=file, overrides=["iteration.label.positive_share=0.1"])

    assert loaded.robot == "yam"
    assert loaded.iteration.label.lookahead == 9
    assert loaded.iteration.label.positive_share == 0.1
    assert loaded.iteration.label.pool == TINY.iteration.label.pool


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("iteration.labell.lookahead=3", r"unknown setting 'iteration\.labell'.*'label'\?"),
        (
            "iteration.label=3",
            r"iteration\.label is 3: it has settings of its own, .*positive_share",
        ),
        ("iteration.label.lookahed=3", r"'iteration\.label\.lookahed'; did you mean 'lookahead'\?"),
        ("iteration.label.zzz=3", r"'iteration\.label\.zzz'; there are lookahead, positive_share"),
        ("iteration.label.positive_share=2", r"positive_share is 2: .*less than or equal to 1"),
        ("iteration.label=3", r"iteration\.label is 3: "),
        ("iteration.label.lookahead", r"is no setting: write KEY=VALUE"),
        ("iteration..lookahead=3", r"is no setting: write KEY=VALUE"),
        ("iteration.label.lookahead=[", r"value of 'iteration\.label\.lookahead' is not YAML"),
    ],
)
def test_a_wrong_override_says_what_and_where(override: str, message: str) -> None:
    """The key, the value, and the rule or the nearest name."""
    with pytest.raises(ConfigError, match=message):
        load_settings(TINY, file=None, overrides=[override])


def test_several_mistakes_are_counted() -> None:
    """One line names the first."""
    overrides = ["iteration.label.positive_share=2", "iteration.label.lookahead=0"]

    with pytest.raises(ConfigError, match=r"\(and 1 more\)"):
        load_settings(TINY, file=None, overrides=overrides)


@pytest.mark.parametrize(
    ("content", "message"), [("a: [", "is not YAML"), ("- 1\n", "holds a list"), (None, "No such")]
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, content: str | None, message: str
) -> None:
    """Missing, broken, or not settings at all."""
    file = tmp_path / "recap.yaml"
    if content is not None:
        file.write_text(content)

    with pytest.raises(ConfigError, match=message):
        load_settings(TINY, file=file, overrides=[])


def test_a_camera_that_nobody_records_is_an_error() -> None:
    """It would otherwise show only after the demonstrations were recorded."""
    overrides = [
        "iteration.value.value.model.views=[base_0_rgb]",
        "iteration.value.value.embodiment.views={base_0_rgb: observation.images.roof}",
    ]

    with pytest.raises(ConfigError, match=r"iteration\.value looks through base_0_rgb.*roof"):
        project(Preset.tiny, 0, cameras=True, file=None, overrides=overrides)


def test_without_cameras_equals_the_preset_without_cameras() -> None:
    """A machine that cannot render and a user who says --no-cameras share every stage key."""
    assert without_cameras(tiny_project(cameras=True)) == TINY


def test_prompts_name_the_tokenizer_they_will_read() -> None:
    """The stage keys depend on the text that the model really reads."""
    resolved = demo_project(SetUp(Preset.tiny, cameras=False), ()).saved

    digest = resolved.bootstrap.sft.policy.prompt.tokenizer_digest
    assert digest is not None
    assert digest == resolved.iteration.value.value.prompt.tokenizer_digest


def test_every_seed_of_the_demo_is_a_project_of_its_own() -> None:
    """So that one seed's rounds are not merged into another's."""
    assert demo_project(SetUp(Preset.tiny, cameras=False), ()).name == "demo/sim-aloha"
    assert demo_project(SetUp(Preset.tiny, 3, cameras=False), ()).name == "demo-seed-3/sim-aloha"
