"""When a new policy replaces the current one, and what was decided."""

from collections.abc import Mapping
from typing import Any, Literal, cast

from pydantic import Field

from recap_core.config.base import Config

type Verdict = Literal["promoted", "candidate", "kept"]
"""``promoted``: the new policy is ``current``; ``candidate``: a person decides; ``kept``: the old
one stays."""

type OfflineCheckName = Literal["finite", "range", "jumps", "error"]
"""What an offline check of a policy may fail: actions that are no numbers, actions outside what
the robot has shown, jumps between chunks, a larger action error than the current policy's."""


class GateConfig(Config):
    """When a new policy may replace the current one.

    Every comparison is a difference of success rates, new minus current, with an interval of the
    given confidence. Three things can come out: the rule holds (the policy is promoted), the
    opposite is shown (the old policy stays), or it is undecided (the new policy is a candidate, and
    the decision says how many more episodes would tell).
    """

    rule: Literal["better", "not_worse", "always", "never"] = Field(
        default="not_worse", title="Promote"
    )
    """``better``: only a policy shown to be better. ``not_worse``: one that succeeds at least as
    often, and is shown not to be worse by ``max_loss`` or more. ``always``: every policy.
    ``never``: none; a person does it."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1, title="Confidence")
    """Of every interval and test: 0.95 is wrong about equal policies in 1 of 20 rounds, half of
    them in the new one's favour."""
    min_gain: float = Field(default=0.0, ge=0, lt=1, title="Smallest gain that counts")
    """Rule ``better``: the gain in success rate lies above this, at its lower bound."""
    max_loss: float = Field(default=0.1, ge=0, le=1, title="Largest tolerated loss")
    """Rule ``not_worse``: a loss of this much or more is ruled out. 0.1 is 10 points; the smaller,
    the more episodes it takes: a tie on 150 equal seeds is enough for 10 points if at most 56
    seeds went differently."""
    per_task: Literal["no_harm", "each", "off"] = Field(default="no_harm", title="Every task")
    """What must hold for tasks one by one, beside the rule for all together. ``no_harm``: no task
    is shown to be worse, and none has lost more than ``max_task_loss``. ``each``: the rule holds
    for every task by itself, which takes many more episodes. ``off``: nothing, one task's gain
    may pay for another one's loss."""
    max_task_loss: float = Field(default=0.1, ge=0, le=1, title="Largest tolerated loss of a task")
    """``no_harm``: a task whose success rate has fallen by more than this holds a promotion back,
    also where so few episodes prove nothing; a person decides."""
    min_episodes: int = Field(default=20, ge=1, title="Fewest episodes")
    """Of the new policy, all tasks together; fewer promote nothing but under ``always``."""
    approval: Literal["automatic", "person"] = Field(default="automatic", title="Who promotes")
    """``person``: a policy that passes becomes a candidate, and a person promotes it."""
    required_checks: tuple[OfflineCheckName, ...] = Field(
        default=("finite", "range"), title="Offline checks that must hold"
    )
    """Where a policy was checked without a robot: one that fails any of these is not even offered
    as a candidate. Other findings are reported with the decision."""


EXACTLY_AS_SUCCESSFUL = GateConfig(rule="not_worse", max_loss=1, per_task="off", min_episodes=1)
"""What ``promote: if_not_worse`` has meant: compare two success rates, however few the episodes."""

_OLD_RULES = {
    "if_not_worse": EXACTLY_AS_SUCCESSFUL,
    "always": GateConfig(rule="always"),
    "never": GateConfig(rule="never"),
}


def with_gate(settings: object) -> object:
    """Settings of a round in which an old ``promote`` is written as a ``gate``, meaning the same.

    Args:
        settings: What a validator of mode ``before`` is given.

    Raises:
        ValueError: If both are there, or ``promote`` is none of the three words that there were.
    """
    if not isinstance(settings, Mapping):
        return settings
    rest = dict(cast("Mapping[str, Any]", settings))
    if "promote" not in rest:
        return rest
    promote = rest.pop("promote")
    if "gate" in rest:
        raise ValueError("promote is the old form of gate: remove promote")
    if promote not in _OLD_RULES:
        known = ", ".join(_OLD_RULES)
        raise ValueError(f"promote is {promote!r}, not {known}; better: set gate.rule instead")
    return {**rest, "gate": _OLD_RULES[promote]}


def written_gate(settings: Mapping[str, Any]) -> GateConfig:
    """The gate in a project's settings as a round's record keeps them; the default if none is.

    Args:
        settings: Plain values; a ``promote`` of an older version counts.

    Raises:
        ValueError: If it is no gate.
    """
    iteration = settings.get("iteration", {})
    written = with_gate({key: iteration[key] for key in ("gate", "promote") if key in iteration})
    return GateConfig.model_validate(cast("dict[str, Any]", written).get("gate", GateConfig()))


class TaskComparison(Config):
    """The new policy against the current one, on one task's episodes."""

    task: str
    num_episodes: int = Field(ge=0)
    """Episodes of the new policy."""
    current_rate: float | None = Field(default=None, ge=0, le=1)
    new_rate: float | None = Field(default=None, ge=0, le=1)
    low: float | None = Field(default=None, ge=-1, le=1)
    """Lower bound of the difference, new minus current; None where it was not computed."""
    high: float | None = Field(default=None, ge=-1, le=1)
    is_paired: bool = False
    """Whether both were evaluated on the same seeds."""
    p_value: float | None = Field(default=None, ge=0, le=1)
    """Two-sided, of no difference: exact McNemar on equal seeds, else Fisher's exact test."""
    outcome: Literal["better", "worse", "undecided"] | None = None
    """What the test shows of this task by itself; with several tasks after Holm's correction."""


class GateDecision(Config):
    """What became of a round's new policy, and why."""

    verdict: Verdict
    reasons: tuple[str, ...] = ()
    """Sentences for people, the most important first."""
    tasks: tuple[TaskComparison, ...] = ()
    overall: TaskComparison | None = None
    """All tasks together, where there was something to compare."""
    num_more_episodes: int | None = Field(default=None, ge=1)
    """Undecided: episodes of each policy that would decide it, if both go on as they have."""
