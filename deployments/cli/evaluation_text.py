"""An evaluation as people read it: a table, each comparison in sentences, and what to do next."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deployments.cli.evaluation_facts import Compared, Tried
from deployments.cli.options import print_indented
from recap_core.evaluation.checkpoint_row import CheckpointRow
from recap_core.evaluation.sequential import SequentialTest
from recap_core.evaluation.tally import verdict_sentence

_MAX_SEEDS = 12


def print_table(
    console: Console,
    tried: Sequence[Tried],
    *,
    fps: int | None = None,
    confidence: float = 0.95,
) -> None:
    """A line per policy, what its failures are, and what the columns mean.

    Args:
        console: Where it goes.
        tried: The policies.
        fps: Control rate of simulated episodes; None: recorded ones.
        confidence: Of the intervals.
    """
    has_resets = any(one.row.per_hour_with_resets is not None for one in tried)
    table = Table(box=None, pad_edge=False)
    table.add_column("policy", overflow="fold")
    columns = ["n", "successes", f"success [{100 * confidence:g} %]", "per hour"]
    columns += ["with resets"] if has_resets else []
    columns += ["per 1000 frames", "length of a success"]
    for column in columns:
        table.add_column(column, justify="right")
    for one in tried:
        table.add_row(escape(one.name), *_cells(one.row, has_resets=has_resets))
    console.print(table)
    for one in tried:
        _print_failures(console, one)
    console.print(f"[dim]{_legend(fps, has_resets=has_resets)}[/dim]")


def _cells(row: CheckpointRow, *, has_resets: bool) -> list[str]:
    length = "" if row.success_s is None else f"{row.success_s:.1f} s"
    if row.success_frames is not None:
        length += f", {row.success_frames:.0f} frames"
    cells = [
        str(row.num_episodes),
        str(row.num_successes),
        f"{100 * row.rate:.1f} % [{100 * row.interval.low:.1f}, {100 * row.interval.high:.1f}]",
        f"{row.per_hour:.0f}",
    ]
    if has_resets:
        resets = row.per_hour_with_resets
        cells.append("" if resets is None else f"{resets:.0f}")
    return [*cells, f"{row.per_1000_frames:.2f}", length]


def _print_failures(console: Console, tried: Tried) -> None:
    row = tried.row
    if row.failures:
        reasons = "; ".join(f"{count} {reason}" for reason, count in row.failures.items())
        print_indented(console, f"  {escape(tried.name)} failed: {escape(reasons)}")
    for left in tried.left_out:
        print_indented(console, f"  [yellow]{escape(left.episode)} {escape(left.why)}[/yellow]")
    num_helped = sum(left.is_helped for left in tried.left_out)
    if num_helped:
        print_indented(
            console,
            "  If somebody stepped in because it went wrong, leaving that out flatters the policy: "
            f"counted as failures they make {_with_failures(row, num_helped)}.",
        )
    if tried.num_discarded:
        noun = "1 episode" if tried.num_discarded == 1 else f"{tried.num_discarded} episodes"
        number = num_helped + tried.num_discarded
        print_indented(
            console,
            f"  {noun} discarded while recording, unseen here: if all that does not count had "
            f"failed, it would be {_with_failures(row, number)}.",
        )


def _with_failures(row: CheckpointRow, number: int) -> str:
    total = row.num_episodes + number
    return f"{row.num_successes} of {total} ({100 * row.num_successes / total:.1f} %)"


def _legend(fps: int | None, *, has_resets: bool) -> str:
    if fps is not None:
        return (
            f"Intervals are Wilson's. Per hour: successes per hour of robot time, frames at {fps} "
            "per second; resets take no time here."
        )
    resets = " With resets: from one episode's start to the next one's, breaks left out."
    return (
        "Intervals are Wilson's. Per hour: successes per hour within episodes."
        f"{resets if has_resets else ''}"
    )


def print_comparison(console: Console, compared: Compared, *, is_stopped_early: bool) -> None:
    """What the gate says of a policy against the reference, and what a look at any time says."""
    new, reference = compared.new.name, compared.reference.name
    console.print(f"\n[bold]{escape(new)}[/bold] against {escape(reference)}", soft_wrap=True)
    print_indented(console, f"  (new: {escape(new)}; current: {escape(reference)})")
    if is_stopped_early and compared.test is not None:
        _print_sequential(console, compared.test)
    for reason in compared.decision.reasons:
        print_indented(console, f"  {escape(reason)}")
    if compared.gained or compared.lost:
        print_indented(console, f"  Gained seeds: {_seeds(compared.gained)}")
        print_indented(console, f"  Lost seeds: {_seeds(compared.lost)}")
    if not is_stopped_early and compared.test is not None:
        _print_sequential(console, compared.test)


def _print_sequential(console: Console, test: SequentialTest) -> None:
    standing = test.standing()
    low, high = (100 * bound for bound in standing.interval)
    print_indented(console, f"  At any time: {escape(verdict_sentence(test))}")
    if standing.estimate is not None:
        print_indented(
            console,
            f"  Difference {100 * standing.estimate:+.1f} points; however often one has looked, "
            f"{100 * test.question.confidence:g} % interval {low:+.1f} to {high:+.1f}.",
        )


def print_target(console: Console, tried: Tried, test: SequentialTest) -> None:
    """Whether a policy reaches the success rate that was asked for."""
    console.print(
        f"{escape(tried.name)}: {escape(verdict_sentence(test))}", soft_wrap=True, highlight=False
    )


def _seeds(seeds: Sequence[int]) -> str:
    if not seeds:
        return "none"
    shown = ", ".join(str(seed) for seed in seeds[:_MAX_SEEDS])
    rest = len(seeds) - _MAX_SEEDS
    return f"{shown} and {rest} more" if rest > 0 else shown
