"""What a person reads in the morning: one artifact key per robot, one version per night."""

import errno
from collections.abc import Sequence

from prefect.artifacts import create_markdown_artifact
from pydantic import BaseModel, ConfigDict

from flows.results import IterationResult
from recap_core.config.flows import ProjectConfig
from recap_core.errors import (
    ArtifactNotFoundError,
    CheckpointError,
    ConfigError,
    CorruptArtifactError,
    DataError,
    IncompatibleError,
    RecapError,
    RobotError,
    StageLockedError,
    TrainingError,
    UnhealthyValueModelError,
)
from recap_core.lineage.artifacts import PolicyCheckpoint, Recording
from recap_core.lineage.headlines import success_text
from tasks.summaries import artifact_key, headline, label, table


class Diagnosis(BaseModel):
    """A failure in words for whoever reads it in the morning."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    means: str
    """What the failure is about."""
    what_to_do: str
    """The next step."""


_BY_ERROR: dict[type[Exception], Diagnosis] = {
    UnhealthyValueModelError: Diagnosis(
        means=(
            "The value model could not tell good moments from bad ones, and the project's"
            " settings say that nothing is labelled with such a model."
        ),
        what_to_do=(
            "Look at its report, and at the episodes whose outcome it doubts. More "
            "episodes of both outcomes help most. With "
            "iteration.on_unhealthy_value_model=stage3 a night goes on with the "
            "collector's own labels instead."
        ),
    ),
    StageLockedError: Diagnosis(
        means=(
            "Another run is making the same thing: a round that was started by hand, or "
            "one on another machine with this store."
        ),
        what_to_do=(
            "Nothing is wrong. The next night goes on; or start this flow again when that"
            " run is done."
        ),
    ),
    ConfigError: Diagnosis(
        means="A setting of the project does not fit.",
        what_to_do="Correct it in recap.yaml and start recap up again.",
    ),
    ArtifactNotFoundError: Diagnosis(
        means="Something that the night builds on is not in the store.",
        what_to_do=(
            "If the project has no policy yet, run the flow bootstrap once. What was "
            "deleted can be brought back with a bundle of another machine."
        ),
    ),
    CorruptArtifactError: Diagnosis(
        means=(
            "A file in the store is not what it was when it was published: a disk or a "
            "person changed it."
        ),
        what_to_do=(
            "Check the disk. Bring the artifact back from a bundle or a backup; what was "
            "made from it before is not affected."
        ),
    ),
    IncompatibleError: Diagnosis(
        means="Two things were put together that do not belong together.",
        what_to_do=(
            "The message names both. Mostly a recording of another robot, or a policy of "
            "another setup, was given to this project."
        ),
    ),
    DataError: Diagnosis(
        means="A recording or a dataset breaks a rule, so nothing was learned from it.",
        what_to_do=(
            "Look at the episode that the message names. recap annotate can exclude it; "
            "the next night goes on without it."
        ),
    ),
    CheckpointError: Diagnosis(
        means="Weights do not fit the model that they were to be loaded into.",
        what_to_do=(
            "Check iteration.finetune.policy and the starting policy: they must be the same model."
        ),
    ),
    TrainingError: Diagnosis(
        means=(
            "Training could not start or go on, for example because the loss was no "
            "number any more."
        ),
        what_to_do=(
            "Look at the metrics of the training run. A lower learning rate, or excluding"
            " broken episodes, is what helps mostly."
        ),
    ),
    RobotError: Diagnosis(
        means="The robot or the simulator did not do what it should.",
        what_to_do="Check it, and start the flow again.",
    ),
}
_GOES_ON = (
    "Stages that were finished are reused: the next night, or *Run* on this deployment, goes on "
    "where this one stopped."
)
_OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "out of memory", "Out of memory")


def diagnosis(error: BaseException) -> Diagnosis:
    """What a failure means and what to do about it."""
    for kind, said in _BY_ERROR.items():
        if isinstance(error, kind):
            return said
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return Diagnosis(
            means="The disk that RECAP_HOME lies on is full.",
            what_to_do="Make room, for example with recap gc, and start the flow again.",
        )
    if isinstance(error, MemoryError) or any(word in str(error) for word in _OUT_OF_MEMORY):
        return Diagnosis(
            means="The memory of the machine or of its accelerator was not enough.",
            what_to_do="Close what else uses it, or make train.batch_size smaller.",
        )
    if isinstance(error, RecapError):
        return Diagnosis(means="The message says it.", what_to_do="Follow the message.")
    return Diagnosis(
        means="Something happened that recap does not know: a defect, or the machine.",
        what_to_do="Open the run's log for the traceback. Start the flow once more; if it fails "
        "in the same place, report it with that log.",
    )


def one_line(error: BaseException) -> str:
    """An error as one line."""
    text = " ".join(str(error).split())
    name = type(error).__name__
    return text if isinstance(error, RecapError) and text else f"{name}: {text}".rstrip(": ")


def failed_report(
    error: BaseException,
    *,
    stage: str | None,
    recordings: Sequence[Recording],
    current: PolicyCheckpoint | None,
    page: str | None,
) -> str:
    """Markdown of a night that failed: what failed, what it means, what to do.

    Args:
        error: What was raised.
        stage: The task that raised it, if it was one.
        recordings: What the night was to learn from.
        current: The policy in use, which the night has not touched.
        page: Address of the project's pages.
    """
    said = diagnosis(error)
    stays = "There is no policy in use yet."
    if current is not None:
        stays = f"The policy in use is still `{label(current)}`."
    kept = ""
    if recordings:
        rows = [(f"`{label(one)}`", headline(one)) for one in recordings]
        kept = "These recordings wait for the next night:\n\n" + table(("recording", ""), rows)
    parts = [
        "# The night failed",
        f"{stays} Nothing that was recorded is lost.",
        f"## What failed\n\n{f'Stage **{stage}**' if stage else 'The night'}: {one_line(error)}",
        f"## What it means\n\n{said.means}",
        f"## What to do\n\n{said.what_to_do}",
        _GOES_ON,
        kept,
        pages_link(page),
    ]
    return "\n\n".join(part for part in parts if part)


def nothing_new_report(reason: str, waiting: Sequence[str], page: str | None) -> str:
    """Markdown of a night without work.

    Args:
        reason: Why there was none, as a sentence.
        waiting: Sessions that were left alone, with the reason.
        page: Address of the project's pages.
    """
    parts = ["# Nothing new", reason, waiting_text(waiting), pages_link(page)]
    return "\n\n".join(part for part in parts if part)


def trained_report(result: IterationResult, waiting: Sequence[str], page: str | None) -> str:
    """Markdown of a night that made a policy.

    Args:
        result: Its round.
        waiting: Sessions that were left alone, with the reason.
        page: Address of the project's pages.
    """
    judgement = result.judgement
    recordings = result.experience.recordings
    rows = [(f"`{label(one)}`", headline(one)) for one in recordings]
    scores = [
        (name, success_text(evaluation))
        for name, evaluation in (
            ("current policy", judgement.collector),
            ("new policy", judgement.after),
        )
        if evaluation is not None
    ]
    parts = [
        f"# Round {result.round_index}",
        _decision_text(result),
        "\n".join(f"- {reason}" for reason in result.decision.reasons),
        table(("policy", "success [95 %]"), scores),
        table(("learned from", ""), rows),
        waiting_text(waiting),
        pages_link(page),
    ]
    return "\n\n".join(part for part in parts if part)


def _decision_text(result: IterationResult) -> str:
    policy = f"New policy `{label(result.learning.policy)}`"
    match result.decision.verdict:
        case "promoted":
            return f"{policy} is **`current`** now."
        case "candidate":
            return (
                f"{policy} is **`candidate`**. Try it on the robot, then run `recap promote "
                f"--project {result.project}/{result.robot}`; until then the old one stays "
                "`current`."
            )
        case _:
            return f"{policy} was not promoted: the old one stays `current`."


def waiting_text(waiting: Sequence[str]) -> str:
    """Sessions that were left for the next night, as a list; empty without any."""
    if not waiting:
        return ""
    return "Left for the next night:\n\n" + "\n".join(f"- {one}" for one in waiting)


def pages_link(page: str | None) -> str:
    """A link to the project's pages; empty without an address."""
    return f"[Reports and lineage of all rounds]({page})" if page else ""


def keep_night(config: ProjectConfig, markdown: str, *, description: str) -> None:
    """Add a version to the robot's nights."""
    create_markdown_artifact(
        markdown,
        key=artifact_key(f"nights-{config.project}-{config.robot}"),
        description=description,
    )
