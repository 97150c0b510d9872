"""What a person may change about one run: the forms of the flows in the Prefect UI.

A field that is left out means: as the project's settings say. Whatever has no field of its own is
changed in ``settings``, in the shape of ``recap.yaml``.
"""

from typing import Annotated, Any, Literal, cast, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
)

from recap_core.config.flows import Episodes, ProjectConfig
from recap_core.config.labels import LABEL_PRESETS
from recap_core.config.training import TrainConfig

type Changes = dict[str, Any]


def _as_the_project_says(schema: dict[str, Any]) -> None:
    """Show an optional field as the plain field it is: no choice between a number and *None*.

    Left empty it is not sent, and so stays None; Prefect takes a null there as well.
    """
    shapes = [one for one in schema.pop("anyOf", ()) if one.get("type") != "null"]
    if len(shapes) == 1:
        schema.update(shapes[0])
    schema.pop("default", None)


def _left_empty(title: str, description: str, **rules: Any) -> Any:  # noqa: ANN401 - as Field
    """A field that may be left empty: as the project says."""
    return Field(
        default=None, json_schema_extra=_as_the_project_says,
        title=title, description=description, **rules,
    )  # fmt: skip


# Plain names, not ``type`` statements: Prefect's pages then find the rules where the field is.
NAME = r"^[A-Za-z0-9][A-Za-z0-9._/-]*$"
Name = Annotated[str, StringConstraints(pattern=NAME, max_length=200)]

LabelPreset = Literal[
    "reference", "paper_finetune", "paper_pretrain", "paper_speed", "sim_demo", "rlinf", "evo_rl"
]
Promotion = Literal["as the project says", "better", "not_worse", "always", "never"]
StageName = Literal[
    "collect", "convert", "merge", "norm_stats", "train_value", "infer_values", "label", "copy",
    "relabel", "train_policy", "evaluate", "check_policy", "report",
]  # fmt: skip

ProjectName = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)?$",
        examples=["demo/sim-aloha"],
        max_length=129,
    ),
]


class Choice(BaseModel):
    """One group of fields of a form."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_serializer(mode="wrap")
    def _without_what_is_left_out(self, handler: SerializerFunctionWrapHandler) -> Changes:
        return {name: value for name, value in handler(self).items() if value is not None}

    def changes(self, config: ProjectConfig) -> Changes:
        """What the group changes about a project's settings, in their shape."""
        del config
        return {}


class RoundChoice(Choice):
    """Which round, and what it starts from. Left empty: the next one."""

    model_config = ConfigDict(title="This round")

    index: int | None = _left_empty(
        ge=1,
        title="Number of the round",
        description="Empty: the first round that is not finished. A finished round is looked up "
        "again, or made anew where settings differ.",
    )
    start: Name | None = _left_empty(
        title="Starting policy",
        description="Where fine-tuning starts. Empty: start, the policy of the bootstrap. "
        "Others: current, candidate, round-3-policy, any ref, or name-id8.",
    )
    episodes: Literal["as the project says", "simulation", "recordings"] = Field(
        default="as the project says",
        title="Episodes come from",
        description="Simulated now, or recordings that were ingested and are not used yet.",
    )
    recordings: tuple[Name, ...] = Field(
        default=(),
        title="Recordings",
        description="Only these, by ref, name-id8 or id. Empty: all that are new.",
    )
    wait_for_episodes: int | None = _left_empty(
        ge=1,
        title="Wait for new episodes",
        description="The run is suspended, and holds nothing, until so many recorded episodes that "
        "no round has used are in the store. Empty: it begins with those there are.",
    )

    def changes(self, config: ProjectConfig) -> Changes:
        """Where episodes come from; recordings that are named are used."""
        del config
        named: Episodes | None = "recordings" if self.recordings else None
        episodes = named or (None if self.episodes == "as the project says" else self.episodes)
        return {"iteration": {"episodes": episodes}} if episodes else {}


class StartChoice(Choice):
    """What training starts from."""

    model_config = ConfigDict(title="Start")

    policy: Name | None = _left_empty(
        title="Starting policy",
        description="Empty: start, the policy of the bootstrap. Others: current, candidate, "
        "round-3-policy, any ref, or name-id8.",
    )


class CollectChoice(Choice):
    """What the simulator records in a round."""

    model_config = ConfigDict(title="Collection")

    num_episodes: int | None = _left_empty(
        ge=1,
        le=100_000,
        title="Episodes",
        description="Rollouts that the current policy records under supervision.",
    )

    def changes(self, config: ProjectConfig) -> Changes:
        """Number of rollouts."""
        del config
        return _nested("iteration.collect.num_episodes", self.num_episodes)


class DemonstrationChoice(Choice):
    """What the first policy learns from."""

    model_config = ConfigDict(title="Demonstrations")

    num_episodes: int | None = _left_empty(
        ge=1,
        le=100_000,
        title="Episodes",
        description="Demonstrations that the simulator's expert records.",
    )
    episodes: Literal["as the project says", "simulation", "recordings"] = Field(
        default="as the project says",
        title="Episodes come from",
        description="Simulated now, or all demonstrations that were ingested for the project.",
    )

    def changes(self, config: ProjectConfig) -> Changes:
        """Number and origin."""
        del config
        changes = _nested("bootstrap.demonstrations.num_episodes", self.num_episodes)
        if self.episodes != "as the project says":
            changes.setdefault("bootstrap", {})["episodes"] = self.episodes
        return changes


class LabelChoice(Choice):
    """The rule that says which frames were good."""

    model_config = ConfigDict(title="Labels")

    preset: LabelPreset | None = _left_empty(
        title="Rule",
        description="A named rule. Empty: the project's own. The fields below are laid over it.",
    )
    positive_share: float | None = _left_empty(
        gt=0,
        le=1,
        title="Share of positive frames",
        description="Of the frames that set the threshold, from 0 to 1; 0.3 is 30 %.",
    )
    lookahead: int | None = _left_empty(
        ge=1,
        title="Lookahead",
        description="Frames from which an advantage is computed; 50 are 1.7 s at 30 fps.",
    )

    def changes(self, config: ProjectConfig) -> Changes:
        """The named rule whole, then what is said of it."""
        del config
        label = {} if self.preset is None else LABEL_PRESETS[self.preset].model_dump(mode="json")
        for name in ("positive_share", "lookahead"):
            if getattr(self, name) is not None:
                label[name] = getattr(self, name)
        return {"iteration": {"label": label}} if label else {}


class TrainingChoice(Choice):
    """How long the models learn."""

    model_config = ConfigDict(title="Training")

    policy_steps: int | None = _left_empty(
        ge=1,
        title="Steps of the policy",
        description="Of every fine-tuning of the round, the control's too. The learning rate's "
        "schedule is stretched with it.",
    )
    policy_batch_size: int | None = _left_empty(
        ge=1,
        title="Batch size of the policy",
        description="Samples per step.",
    )
    value_steps: int | None = _left_empty(
        ge=1,
        title="Steps of the value model",
        description="The learning rate's schedule is stretched with it.",
    )

    def changes(self, config: ProjectConfig) -> Changes:
        """Steps with their schedule, and batch size, of every training of a round."""
        iteration = config.iteration
        policies = {"finetune": iteration.finetune, "stage3": iteration.stage3}
        if iteration.control is not None:
            policies["control"] = iteration.control
        changes = {
            name: _training(policy.train, self.policy_steps, self.policy_batch_size)
            for name, policy in policies.items()
        }
        changes["value"] = _training(iteration.value.train, self.value_steps, None)
        kept = {name: {"train": train} for name, train in changes.items() if train}
        return {"iteration": kept} if kept else {}


class FirstTrainingChoice(Choice):
    """How long the first policy learns."""

    model_config = ConfigDict(title="Training")

    policy_steps: int | None = _left_empty(
        ge=1,
        title="Steps of the policy",
        description="The learning rate's schedule is stretched with it.",
    )
    policy_batch_size: int | None = _left_empty(
        ge=1,
        title="Batch size of the policy",
        description="Samples per step.",
    )

    def changes(self, config: ProjectConfig) -> Changes:
        """Steps with their schedule, and batch size, of the SFT."""
        train = _training(config.bootstrap.sft.train, self.policy_steps, self.policy_batch_size)
        return {"bootstrap": {"sft": {"train": train}}} if train else {}


class RelabelChoice(Choice):
    """Which data, and whose judgement."""

    model_config = ConfigDict(title="Data")

    dataset: Name | None = _left_empty(
        title="Dataset",
        description="Empty: all data of the newest finished round. Otherwise a ref or name-id8.",
    )
    value_model: Name | None = _left_empty(
        title="Value model",
        description="Empty: that of the newest finished round. Otherwise a ref or name-id8.",
    )


class EvaluationChoice(Choice):
    """How thoroughly policies are tried."""

    model_config = ConfigDict(title="Evaluation")

    num_episodes: int | None = _left_empty(
        ge=1,
        le=100_000,
        title="Episodes",
        description="Per policy, on the same seeds for all.",
    )
    first_seed: int | None = _left_empty(
        ge=0,
        title="First seed",
        description="Other seeds are other scenes; keep them to compare with earlier evaluations.",
    )

    def changes(self, config: ProjectConfig) -> Changes:
        """Number of episodes and their seeds."""
        del config
        given = {"num_episodes": self.num_episodes, "first_seed": self.first_seed}
        evaluation = {name: value for name, value in given.items() if value is not None}
        return {"iteration": {"evaluation": evaluation}} if evaluation else {}


class IngestChoice(Choice):
    """Which recorded sessions are taken in."""

    model_config = ConfigDict(title="Sessions")

    session: str | None = _left_empty(
        min_length=1,
        title="Session or inbox",
        description="Directory of one session, or of several. Empty: the project's inbox "
        "(iteration.inbox).",
    )
    mode: Literal["as recorded", "demonstration", "rollout"] = Field(
        default="as recorded",
        title="Who drove",
        description="As recorded: what the episodes say, else rollouts.",
    )
    quiet_s: float = Field(
        default=60.0,
        ge=0,
        title="Quiet time",
        description="Seconds in which nothing in a session may have changed: a robot that still "
        "copies is left alone.",
    )


def promotion_changes(promotion: Promotion) -> Changes:
    """What the choice of a promotion rule changes about a project's settings."""
    if promotion == "as the project says":
        return {}
    return {"iteration": {"gate": {"rule": promotion}}}


def stage_names() -> tuple[StageName, ...]:
    """The stages that a form can have made anew."""
    return cast("tuple[StageName, ...]", get_args(StageName))


def _nested(key: str, value: object) -> Changes:
    """``{a: {b: value}}`` for ``a.b``; nothing if there is no value."""
    if value is None:
        return {}
    for name in reversed(key.split(".")):
        value = {name: value}
    assert isinstance(value, dict)  # noqa: S101 - a key has at least one name
    return value


def _training(train: TrainConfig, num_steps: int | None, batch_size: int | None) -> Changes:
    """Another length of a training, its schedule stretched with it, or another batch size."""
    changes: Changes = {} if batch_size is None else {"batch_size": batch_size}
    if num_steps is None:
        return changes
    decay = max(round(train.optimizer.decay_steps * num_steps / train.num_steps), 1)
    warmup = round(train.optimizer.warmup_steps * num_steps / train.num_steps)
    optimizer = {"decay_steps": decay, "warmup_steps": min(warmup, decay - 1)}
    return changes | {"num_steps": num_steps, "optimizer": optimizer}
