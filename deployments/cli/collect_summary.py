"""What a session has come to: a table for people, or JSON for programs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deployments.cli.collect_next import Step, intervention_share
from deployments.cli.collect_panels import clock_text, success_text, tallied
from deployments.cli.quantities import bytes_text, count_text

if TYPE_CHECKING:
    from recap_core.collection.live_parts import SessionEnd

_REASONS = {"goal": "the goal is reached", "quit": "the operator quit"}


def print_summary(
    end: "SessionEnd",
    steps: list[Step],
    console: Console,
    *,
    is_evaluation: bool,
    target_rate: float | None = None,
) -> None:
    """Print how the session went, and what to do next."""
    console.print()
    why = _REASONS.get(end.reason) or f"it failed: {end.error}"
    style = "bold red" if end.reason == "error" else "bold"
    console.print(Text(f"The session is over: {why}.", style=style))
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(end, is_evaluation=is_evaluation):
        table.add_row(name, Text(value))
    if target_rate is not None:
        table.add_row("target", Text(tallied(end.trials, target_rate).sentence()))
    console.print(table)
    console.print(Text("\nWhat to do next", style="bold"))
    for step in steps:
        console.print(Text(f"  {step.text}"))
        if step.command is not None:
            console.print(Text(f"      {step.command}", style="bold"), soft_wrap=True)


def plain_summary(end: "SessionEnd", steps: list[Step]) -> dict[str, Any]:
    """The same for programs, as plain JSON values."""
    return {
        "directory": None if end.directory is None else str(end.directory),
        "reason": end.reason,
        "error": end.error,
        "num_episodes": len(end.episodes),
        "num_successes": sum(end.trials),
        "num_discarded": end.num_discarded,
        "num_disqualified": end.num_disqualified,
        "num_corrections": sum(episode.num_corrections for episode in end.episodes),
        "intervention_share": intervention_share(end.episodes),
        "num_bytes": _size(end.directory),
        "timing": end.timing._asdict(),
        "episodes": [
            {**episode._asdict(), "outcome": episode.outcome.value} for episode in end.episodes
        ],
        "next": [step._asdict() for step in steps],
    }


def _rows(end: "SessionEnd", *, is_evaluation: bool) -> list[tuple[str, str]]:
    episodes, timing = end.episodes, end.timing
    num_frames = sum(episode.num_frames for episode in episodes)
    duration_s = sum(episode.duration_s for episode in episodes)
    num_dropped = sum(episode.num_dropped for episode in episodes)
    corrections = sum(episode.num_corrections for episode in episodes)
    loop = (
        f"{timing.mean_hz:.2f} Hz, jitter p99 {timing.jitter_p99_ms:.1f} ms, longest "
        f"{timing.jitter_max_ms:.0f} ms, {timing.num_late:,} late ticks"
    )
    rows = [
        ("directory", str(end.directory or "none")),
        ("episodes", f"{len(episodes)} saved, {end.num_discarded} discarded"),
        ("success", success_text(sum(end.trials), len(end.trials))),
        ("frames", f"{num_frames:,} in {clock_text(duration_s)}, {num_dropped:,} images dropped"),
        ("loop", loop),
        ("on disk", bytes_text(_size(end.directory))),
    ]
    if is_evaluation:
        word = f"{count_text(end.num_disqualified, 'episode')}: a correction was asked for"
        rows.insert(3, ("disqualified", word))
    else:
        share = intervention_share(episodes)
        rows.insert(3, ("corrections", f"{corrections:,}, {share:.1%} of the frames"))
    return rows


def _size(directory: Path | None) -> int:
    """Bytes on disk of a session, 0 where there is none."""
    if directory is None:
        return 0
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
