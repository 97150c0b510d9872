"""The forms of the flows: what the Prefect UI shows, refuses, and what a run makes of it."""

from pathlib import Path
from typing import Any

import pytest
from prefect import Flow
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import validate

from flows.bootstrap import bootstrap
from flows.evaluation import evaluate_only
from flows.forms import (
    Choice,
    CollectChoice,
    DemonstrationChoice,
    EvaluationChoice,
    FirstTrainingChoice,
    LabelChoice,
    RoundChoice,
    TrainingChoice,
    stage_names,
)
from flows.ingest import ingest_recordings
from flows.iteration import recap_iteration
from flows.loop import recap_loop
from flows.relabeling import relabel_only
from flows.settings import run_settings
from flows.stage3 import stage3
from recap_core.config.flows import ProjectConfig
from recap_core.config.labels import LABEL_PRESETS
from recap_core.config.presets import tiny_project
from recap_core.errors import ConfigError
from recap_core.lineage.project_files import save_project
from recap_core.stages.registry import STAGES

FLOWS = [
    bootstrap,
    evaluate_only,
    ingest_recordings,
    recap_iteration,
    recap_loop,
    relabel_only,
    stage3,
]
DEMO = "demo/sim-aloha"


@pytest.fixture
def project(recap_home: Path) -> ProjectConfig:
    """The demo, saved in an empty store."""
    config = tiny_project(cameras=False)
    save_project(recap_home, config)
    return config


def schema_of(flow: Flow[..., Any]) -> dict[str, Any]:
    return parameter_schema(flow).model_dump()


def refusals(flow: Flow[..., Any], **parameters: object) -> list[str]:
    """What Prefect says before it makes a run."""
    found = validate({"project": DEMO} | parameters, schema_of(flow), allow_none_with_default=True)
    return [error.message for error in found]


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_every_field_of_a_form_says_what_it_is(flow: Flow[..., Any]) -> None:
    """A title, a description, and nothing that must be filled in but the project."""
    schema = schema_of(flow)
    assert schema["required"] == ["project"]
    assert next(iter(schema["properties"])) == "project"
    assert list(schema["properties"])[-1] == "settings"
    definitions = schema["definitions"]
    for name, field in schema["properties"].items():
        group = definitions.get(field.get("$ref", "").rpartition("/")[2], {})
        assert field.get("description") or group.get("description"), name
    for name, group in definitions.items():
        for key, field in group["properties"].items():
            assert field.get("title"), f"{name}.{key}"
            assert field.get("description"), f"{name}.{key}"
            assert "anyOf" not in field, f"{name}.{key} would show a choice of types"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"this_round": {"index": 0}}, "0 is less than the minimum of 1"),
        ({"labels": {"positive_share": 1.5}}, "1.5 is greater than the maximum of 1"),
        ({"labels": {"preset": "best"}}, "'best' is not one of ['reference', "),
        ({"collect": {"episodes": 3}}, "'episodes' was unexpected"),
        ({"this_round": {"start": "../x"}}, "'../x' does not match"),
        ({"refresh": ["everything"]}, "'everything' is not one of ['collect', "),
        ({"promotion": "sometimes"}, "'sometimes' is not one of"),
        ({"settings": [1]}, "[1] is not of type 'object'"),
    ],
)
def test_a_bad_value_is_refused_before_a_run_is_made(
    parameters: dict[str, Any], message: str
) -> None:
    """By rules that are part of the form, so that the UI says it at once."""
    assert message in refusals(recap_iteration, **parameters)[0]


def test_fields_may_be_left_out_or_null() -> None:
    """The UI sends what was filled in; a schedule may send null."""
    assert not refusals(recap_iteration)
    assert not refusals(recap_iteration, this_round={"index": None}, labels={})


def test_forms_know_the_stages_and_label_rules_that_there_are() -> None:
    """The lists in the form are written out, for a page cannot ask."""
    known = schema_of(recap_iteration)["definitions"]["LabelChoice"]["properties"]["preset"]

    assert known["enum"] == list(LABEL_PRESETS)
    assert set(stage_names()) <= set(STAGES)


@pytest.mark.parametrize(
    ("choice", "key", "value"),
    [
        (CollectChoice(num_episodes=7), "iteration.collect.num_episodes", 7),
        (RoundChoice(episodes="recordings"), "iteration.episodes", "recordings"),
        (RoundChoice(recordings=("rec-12345678",)), "iteration.episodes", "recordings"),
        (LabelChoice(positive_share=0.5), "iteration.label.positive_share", 0.5),
        (LabelChoice(positive_share=0.5), "iteration.label.lookahead", 8),
        (LabelChoice(preset="paper_speed"), "iteration.label", LABEL_PRESETS["paper_speed"]),
        (LabelChoice(preset="paper_speed", lookahead=9), "iteration.label.lookahead", 9),
        (TrainingChoice(policy_batch_size=3), "iteration.control.train.batch_size", 3),
        (TrainingChoice(value_steps=40), "iteration.value.train.num_steps", 40),
        (TrainingChoice(value_steps=40), "iteration.finetune.train.num_steps", 1500),
        (FirstTrainingChoice(policy_steps=30), "bootstrap.sft.train.num_steps", 30),
        (DemonstrationChoice(num_episodes=2), "bootstrap.demonstrations.num_episodes", 2),
        (EvaluationChoice(num_episodes=9), "iteration.evaluation.num_episodes", 9),
    ],
)
def test_a_choice_changes_what_it_says(
    project: ProjectConfig, choice: Choice, key: str, value: object
) -> None:
    """Laid over the project's settings, whose file stays as it is."""
    del project
    found: Any = run_settings(DEMO, choice, settings={})
    for name in key.split("."):
        found = getattr(found, name)

    assert found == value


def test_an_empty_form_is_the_project(project: ProjectConfig) -> None:
    """Nothing filled in changes nothing."""
    choices = (RoundChoice(), CollectChoice(), LabelChoice(), TrainingChoice())

    assert run_settings(DEMO, *choices, settings={}) == project


def test_a_schedule_is_stretched_with_the_steps(project: ProjectConfig) -> None:
    """Half the steps: half the warm-up, and the cosine still ends with the training."""
    before = project.iteration.finetune.train

    train = run_settings(DEMO, TrainingChoice(policy_steps=750), settings={}).iteration.control

    assert train is not None
    assert train.train.num_steps == before.num_steps // 2
    assert train.train.optimizer.decay_steps == before.optimizer.decay_steps // 2
    assert train.train.optimizer.warmup_steps == before.optimizer.warmup_steps // 2
    assert run_settings(DEMO, TrainingChoice(policy_steps=1), settings={})


def test_settings_win_over_the_form(project: ProjectConfig) -> None:
    """They are what a person wrote last."""
    del project
    settings = {"iteration": {"label": {"positive_share": 0.6}}}

    config = run_settings(DEMO, LabelChoice(positive_share=0.5), settings=settings)

    assert config.iteration.label.positive_share == 0.6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"iteration": {"labell": 3}}, r"unknown setting 'iteration\.labell'; did you mean"),
        ({"iteration": {"label": {"lookahead": 0}}}, r"iteration\.label\.lookahead is 0: "),
        ({"project": "other"}, r"settings\.project is 'other', but the run is of demo"),
    ],
)
def test_a_wrong_setting_is_one_line(
    project: ProjectConfig, settings: dict[str, Any], message: str
) -> None:
    """The key, the value, and the rule or the nearest name."""
    del project
    with pytest.raises(ConfigError, match=message):
        run_settings(DEMO, settings=settings)
