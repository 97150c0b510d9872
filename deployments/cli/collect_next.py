"""What to do with a session that has ended: commands to copy, and whether to collect more."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from recap_core.errors import ConfigError
from recap_core.rollout.frame import Outcome
from recap_core.rollout.live import EpisodeSummary

if TYPE_CHECKING:
    from recap_core.lineage.waiting import Waiting

LITTLE_INTERVENTION = 0.10
"""Share of frames below which more of the same teaches little (SPEC §2.5)."""
MIN_EPISODES = 5
"""Fewer say nothing about a rate."""
MANY_CORRECTIONS = 300
"""What one iteration of the paper has."""


class Step(NamedTuple):
    """One thing to do next."""

    text: str
    command: str | None = None
    """To be copied; None: there is nothing to run."""


class Place(NamedTuple):
    """Where a session ended, as far as it decides what comes next."""

    has_store: bool
    inboxes: tuple[tuple[str, Path], ...] = ()
    """Project and inbox, of the store's projects that have one on this machine."""
    waiting: "tuple[Waiting, ...]" = ()
    """Runs that wait for episodes."""


def look_around(home: Path) -> Place:
    """What there is on this machine; a damaged project is left out."""
    if not (home / "artifacts").is_dir():
        return Place(has_store=(home / "projects").is_dir())
    from recap_core.lineage.project_files import list_projects, load_project
    from recap_core.lineage.waiting import all_waiting

    inboxes: list[tuple[str, Path]] = []
    for name in list_projects(home):
        try:
            inbox = load_project(home, name).iteration.inbox
        except ConfigError:
            continue
        if inbox is not None and (path := Path(inbox).expanduser().absolute()).is_dir():
            inboxes.append((name, path))
    waiting = [note for note in all_waiting(home) if note.waits_for == "episodes"]
    return Place(has_store=True, inboxes=tuple(inboxes), waiting=tuple(waiting))


def next_steps(
    directory: Path | None,
    episodes: Sequence[EpisodeSummary],
    place: Place,
    *,
    is_evaluation: bool,
) -> list[Step]:
    """What to do with a session's episodes, the first thing first.

    Args:
        directory: The session's; None: it was not recorded.
        episodes: Those that were saved.
        place: Where it ended.
        is_evaluation: Nobody corrected: the episodes judge a policy.
    """
    if not episodes or directory is None:
        return [Step("Nothing was saved, so there is nothing to take in.")]
    if is_evaluation:
        return [*_take_in(directory, place._replace(inboxes=())), *_evaluation(directory)]
    return [_more_or_train(episodes), *_take_in(directory, place)]


def intervention_share(episodes: Sequence[EpisodeSummary]) -> float:
    """Share of the frames that the operator drove; 0 where there are none."""
    num_frames = sum(episode.num_frames for episode in episodes)
    return sum(one.num_correcting_frames for one in episodes) / num_frames if num_frames else 0.0


def _more_or_train(episodes: Sequence[EpisodeSummary]) -> Step:
    share = intervention_share(episodes)
    if len(episodes) < MIN_EPISODES:
        say = "episode says" if len(episodes) == 1 else "episodes say"
        return Step(f"{len(episodes)} {say} little; 20 to 50 of 30 to 60 s make a session.")
    if share < LITTLE_INTERVENTION:
        return Step(
            f"You drove {share:.0%} of the frames, less than {LITTLE_INTERVENTION:.0%}: the policy "
            "hardly needs you, and more of the same teaches little. Train a round, or make the "
            "task harder."
        )
    successes = sum(episode.outcome is Outcome.SUCCESS for episode in episodes) / len(episodes)
    corrections = sum(episode.num_corrections for episode in episodes)
    if successes in {0.0, 1.0}:
        missing = "success" if successes == 0 else "failure"
        return Step(f"There is no {missing} among them; a value model needs both outcomes.")
    return Step(
        f"{corrections} corrections, {share:.0%} of the frames; about {MANY_CORRECTIONS} "
        "corrections make a round. Collecting more is worth while above "
        f"{LITTLE_INTERVENTION:.0%}."
    )


def _evaluation(directory: Path) -> list[Step]:
    from deployments.cli.recording_commands import artifact_name

    name = f"{artifact_name(directory)}-ID"
    return [
        Step(
            "How the policy did, with intervals (recap ingest prints the ID):",
            f"recap evaluate --recording {name}",
        ),
        Step("If it is better, make it the policy in use:", "recap promote"),
    ]


def _take_in(directory: Path, place: Place) -> list[Step]:
    if not place.has_store:
        server = f"rsync -a --partial-dir=.partial {_q(directory)} recap@SERVER:/srv/recap/inbox/"
        return [Step("There is no store on this machine. Copy the session to its inbox:", server)]
    steps = [
        Step(
            f"For the next round of {project} (the next night takes it in, or at once the flow "
            "ingest of the Prefect UI):",
            f"rsync -a --partial-dir=.partial {_q(directory)} {_q(inbox)}/",
        )
        for project, inbox in place.inboxes
    ]
    steps += [
        Step(
            f"{note.run_name} of {note.project} waits for {note.num_episodes or 1} new episodes; "
            "take the session in for it, and it looks again:",
            f"recap ingest {_q(directory)} --project {_q(note.project)}",
        )
        for note in place.waiting
    ]
    if not place.inboxes and not place.waiting:
        steps.append(Step("Take it into the store:", f"recap ingest {_q(directory)}"))
    return [*steps, Step("Look at it:", f"recap doctor data {_q(directory)}")]


def _q(path: Path | str) -> str:
    return shlex.quote(str(path))
