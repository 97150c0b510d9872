"""Videos of evaluation episodes, and the page that shows them."""

from collections.abc import Sequence
from pathlib import Path

from deployments.cli.evaluation_facts import Tried
from recap_core.config.collection import CollectRuntime
from recap_core.config.evaluation import EvaluationConfig
from recap_core.evaluation.failures import failure_reason
from recap_core.evaluation.outcome import EpisodeOutcome
from recap_core.lineage.atomic_file import atomic_file
from recap_core.lineage.headlines import success_text
from recap_core.lineage.store import Store
from recap_core.progress import Terminal
from recap_core.reports.film_sheet import Film, FilmGroup, write_film_sheet
from recap_core.stages.film_episodes import Filmed, film_episodes

PAGE = "index.html"


def film_all(  # noqa: PLR0913 - all but the first three by name
    store: Store,
    tried: Sequence[Tried],
    config: EvaluationConfig,
    *,
    only_failures: bool,
    limit: int,
    directory: Path,
    runtime: CollectRuntime,
) -> Path:
    """Film episodes of every policy, and write the page.

    Args:
        store: Where the policies are.
        tried: What was evaluated.
        config: Under which settings.
        only_failures: Leave successes out.
        limit: At most so many videos per policy, of different reasons as far as possible.
        directory: Where videos and page go.
        runtime: How many robots.

    Returns:
        The page.

    Raises:
        RenderingError: If there is no GL context.
    """
    directory.mkdir(parents=True, exist_ok=True)
    groups = []
    for one in tried:
        wanted = [each for each in one.outcomes if not (only_failures and each.success)]
        chosen = mixed(wanted, limit, max_frames=config.max_episode_frames)
        filmed = film_episodes(
            one.policy,
            chosen,
            config,
            directory=directory,
            store=store,
            runtime=runtime,
            progress=Terminal(),
        )
        groups.append(
            FilmGroup(
                title=one.name,
                text=f"{success_text(one.evaluation)}{_reasons(one)}",
                films=tuple(_film(each, config) for each in filmed),
                num_left_out=len(wanted) - len(chosen),
            )
        )
    page = directory / PAGE
    last = config.first_seed + config.num_episodes - 1
    with atomic_file(page, overwrite=True) as draft:
        write_film_sheet(
            f"{'Failed episodes' if only_failures else 'Episodes'} of {_names(tried)}",
            f"seeds {config.first_seed} to {last}, at most {config.max_episode_frames} frames at "
            f"{config.robot.fps} per second; each was run again from its seed",
            groups,
            draft,
        )
    return page


def mixed(
    outcomes: Sequence[EpisodeOutcome], limit: int, *, max_frames: int
) -> list[EpisodeOutcome]:
    """At most ``limit`` episodes, one of every reason before a second one of any; by seed."""
    rounds: list[tuple[int, int, EpisodeOutcome]] = []
    seen: dict[str, int] = {}
    for outcome in sorted(outcomes, key=lambda each: each.seed):
        reason = failure_reason(outcome, max_frames=max_frames) or "success"
        rounds.append((seen.get(reason, 0), outcome.seed, outcome))
        seen[reason] = seen.get(reason, 0) + 1
    chosen = [outcome for _, _, outcome in sorted(rounds, key=lambda each: each[:2])[:limit]]
    return sorted(chosen, key=lambda each: each.seed)


def _names(tried: Sequence[Tried]) -> str:
    return ", ".join(one.name for one in tried)


def _film(filmed: Filmed, config: EvaluationConfig) -> Film:
    outcome = filmed.outcome
    reason = failure_reason(outcome, max_frames=config.max_episode_frames)
    seconds = outcome.num_frames / config.robot.fps
    return Film(
        title=f"seed {outcome.seed}",
        caption=f"{reason or 'success'}, {seconds:.1f} s",
        is_success=outcome.success,
        path=filmed.path,
        note=""
        if filmed.is_repeated
        else "It went otherwise when it was evaluated: another processor rounds differently.",
    )


def _reasons(tried: Tried) -> str:
    counted = "; ".join(f"{count} {reason}" for reason, count in tried.row.failures.items())
    return f". Failures: {counted}." if counted else "."
