"""``recap label sweep``, ``diff`` and ``explain``: look at labels before trusting them."""

import json as json_format
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.cli.label_commands import PresetOption, RuleOption
from deployments.cli.options import JsonOption

if TYPE_CHECKING:
    from recap_core.lineage.artifacts import Labels
    from recap_core.lineage.store import Store
    from recap_core.reports.label_content import DiffPage, SweepPage
    from recap_core.stages.label_diff import LabelDiff
    from recap_core.stages.label_explain import Explanation
    from recap_core.stages.label_references import Labelled, Valued
    from recap_core.stages.label_sweep import LabelSweep

HtmlOption = Annotated[
    Path | None, typer.Option("--html", help="Also write a page that any browser opens.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace the page.")]
MAX_TASK_COLUMNS = 4
"""More tasks than this are on the page and in the JSON only."""
LABELS_OF = "Labels, or a dataset or policy that has some: id, name-id8 or ref."


def sweep(  # noqa: PLR0913 - one parameter per option
    source: Annotated[
        str,
        typer.Argument(metavar="DATASET-or-VALUES", help="A dataset's newest values are taken."),
    ],
    *,
    lookahead: Annotated[
        str, typer.Option(help="Lookaheads in frames; 'episode' is the whole episode.")
    ] = "10,25,50",
    share: Annotated[str, typer.Option(help="Positive shares of the pool.")] = "0.1,0.2,0.3,0.4",
    preset: PresetOption = "paper_finetune",
    settings: RuleOption = None,
    base: Annotated[
        str | None,
        typer.Option(help="Labels to count flips against; default: the newest of these values."),
    ] = None,
    html: HtmlOption = None,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Labels over lookaheads and shares, each point in milliseconds, before committing to one."""
    from deployments.cli.artifact_arguments import artifact_of_kind, open_store
    from deployments.cli.label_commands import label_config
    from recap_core.lineage.artifacts import Labels
    from recap_core.stages.label_references import valued
    from recap_core.stages.label_sweep import sweep_labels, sweep_page

    config = label_config(preset, settings or [])
    store = open_store()
    found = valued(store, store.get(source), all_frames=config.pool == "all")
    labels = None
    if base is not None:
        labels = artifact_of_kind(store, base, Labels, wanted="labels")
    result = sweep_labels(
        found.dataset,
        found.values,
        config,
        lookaheads=[_lookahead(text) for text in _parts("--lookahead", lookahead)],
        shares=[_number("--share", text) for text in _parts("--share", share)],
        base=labels or _newest_labels(store, found),
        store=store,
    )
    if html is not None:
        _write(sweep_page(result), html, force=force)
    if json:
        base_id = result.base and result.base.id
        facts = {"seconds": result.seconds, "base": base_id, "points": result.rows()}
        _print(json_format.dumps(facts, indent=2))
        return
    _print_sweep(result)
    _tell_where(html)


def diff(  # noqa: PLR0913 - one parameter per option
    before: Annotated[str, typer.Argument(help=LABELS_OF)],
    after: Annotated[str, typer.Argument(help="The same, to compare with.")],
    *,
    html: HtmlOption = None,
    episodes: Annotated[
        int, typer.Option(min=0, help="Most changed episodes to show, with pictures on the page.")
    ] = 12,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Which labels changed, by task and episode; rounds are matched by their raw episodes."""
    from deployments.cli.artifact_arguments import open_store
    from recap_core.stages.label_diff import diff_labels, diff_page
    from recap_core.stages.label_references import labelled

    store = open_store()
    sides: list[Labelled] = [labelled(store, store.get(name)) for name in (before, after)]
    result = diff_labels(sides[0], sides[1], store=store)
    if html is not None:
        _write(diff_page(result, num_episodes=episodes), html, force=force)
    if json:
        _print(json_format.dumps(result.plain(), indent=2))
        return
    _print_diff(result, episodes)
    _tell_where(html)


def explain(
    source: Annotated[str, typer.Argument(metavar="LABELS", help=LABELS_OF)],
    *,
    episode: Annotated[int, typer.Option("--episode", "-e", min=0, help="Number of the episode.")],
    frame: Annotated[int, typer.Option("--frame", "-f", min=0, help="Number of its frame.")],
    json: JsonOption = False,
) -> None:
    """Why a frame is positive or negative: every number behind it, and where each comes from."""
    from deployments.cli.artifact_arguments import open_store
    from recap_core.stages.label_explain import explain_frame
    from recap_core.stages.label_references import labelled

    store = open_store()
    found = explain_frame(labelled(store, store.get(source)), episode, frame, store=store)
    if json:
        _print(json_format.dumps(found.plain(), indent=2))
        return
    _print(_explained(found))


def _parts(option: str, text: str) -> list[str]:
    from recap_core.errors import ConfigError

    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise ConfigError(f"{option} is empty: give one value at least, or leave it out")
    return parts


def _lookahead(text: str) -> int | None:
    from recap_core.errors import ConfigError

    if text == "episode":
        return None
    if not text.isdecimal():
        raise ConfigError(f"--lookahead {text!r} is no number of frames and not 'episode'")
    return int(text)


def _number(option: str, text: str) -> float:
    from recap_core.errors import ConfigError

    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{option} {text!r} is no number") from None


def _newest_labels(store: "Store", found: "Valued") -> "Labels | None":
    from recap_core.lineage.artifacts import Labels

    newest = ""
    for manifest in store.artifacts():  # oldest first
        if manifest.kind == "labels" and found.values.id in {p.id for p in manifest.parents}:
            newest = manifest.id
    labels = store.get(newest) if newest else None
    return labels if isinstance(labels, Labels) else None


def _write(page: "SweepPage | DiffPage", path: Path, *, force: bool) -> None:
    from recap_core.lineage.atomic_file import atomic_file
    from recap_core.reports.label_pages import write_page

    with atomic_file(path, overwrite=force) as draft:
        write_page(page, draft)


def _tell_where(html: Path | None) -> None:
    if html is not None:
        _print(f"{html}: open it in any browser.")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _print_sweep(result: "LabelSweep") -> None:
    from rich.table import Table

    from deployments.cli.options import Output

    console = Output(json=False, verbose=False).console
    table = Table(box=None, pad_edge=False, header_style="dim")
    has_base = result.base is not None
    names = ["N", "share", "positive %", "in successes %", "in failures %", "agreement %"]
    tasks = result.tasks if 1 < len(result.tasks) <= MAX_TASK_COLUMNS else ()
    for name in names + (["gained", "lost"] if has_base else []) + [f"{t} %" for t in tasks]:
        table.add_column(name, justify="right")
    for row in result.rows():
        cells = ["episode" if row["lookahead"] is None else str(row["lookahead"])]
        cells.append(f"{row['share']:g}")
        shown = ("positive_share", "in_successes", "in_failures", "agreement")
        cells += [_percent(row[name]) for name in shown]
        cells += [f"{row['gained']:,}", f"{row['lost']:,}"] if has_base else []
        cells += [_percent(row["tasks"].get(task, {}).get("share")) for task in tasks]
        table.add_row(*cells)
    console.print(table)
    per_point = 1000 * result.seconds / result.num_points
    against = (
        f"; gained and lost against {result.base.name}-{result.base.id[:8]}"
        if (result.base is not None)
        else ""
    )
    console.print(
        f"{result.num_frames:,} autonomous frames, {result.num_points} points, "
        f"{per_point:.2g} ms each{against}"
    )


def _print_diff(result: "LabelDiff", num_episodes: int) -> None:
    from rich.table import Table

    from deployments.cli.options import Output

    console = Output(json=False, verbose=False).console
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("task")
    for name in ("frames", "gained", "lost", "other", "before %", "after %"):
        table.add_column(name, justify="right")
    for task in result.tasks():
        changes = [f"{n:,}" for n in (task.num_frames, task.gained, task.lost, task.other)]
        table.add_row(task.task, *changes, _percent(task.before), _percent(task.after))
    console.print(table)
    facts = result.plain()
    changed = facts["changed_episodes"]
    console.print(
        f"{facts['frames']:,} frames of {facts['episodes']:,} episodes compared; "
        f"{facts['only_before']:,} only before, {facts['only_after']:,} only after, "
        f"{facts['resized']:,} of another length; labels changed in {len(changed):,}"
    )
    for episode in changed[:num_episodes]:
        counts = ", ".join(f"{n} {name}" for name, n in episode["transitions"].items())
        same = episode["before"] == episode["after"]
        number = f"{episode['after']}" if same else f"{episode['before']}/{episode['after']}"
        console.print(f"  episode {number}: {counts}")


def _explained(found: "Explanation") -> str:
    lines = [
        f"{found.label}: {found.because}",
        "",
        (
            f"  episode {found.episode}, frame {found.frame} ({found.seconds:.2f} s), "
            f"{found.outcome}; {found.driver} drives"
        ),
        f"  task {found.task!r}, round {found.round_index}, source {found.source[:8] or 'unknown'}",
        *_arithmetic(found),
        "",
        f"  rule: {found.rule}" + (f" (preset {found.preset})" if found.preset else ""),
        (
            f"  labels {found.labels}, dataset {found.dataset}, "
            f"values {found.values or 'unknown'}, value model {found.value_model or 'unknown'}"
        ),
    ]
    return "\n".join(lines)


def _arithmetic(found: "Explanation") -> list[str]:
    lines: list[Any] = [""]
    window, threshold = found.window, found.threshold
    if found.value is not None:
        lines.append(f"  V of the frame      {found.value:+.4f}")
    if window is not None:
        lines += [
            (
                f"  reward sum          {window.reward_sum:+.4f}  over {window.num_frames} "
                f"frame{'s' if window.num_frames != 1 else ''}, "
                f"to {window.ends_at}"
            ),
            f"  value at the end    {window.end_value:+.4f}  {window.end_value_is}",
        ]
    if found.advantage is not None:
        lines.append(f"  advantage           {found.advantage:+.4f}  reward sum + end - V")
    if threshold is not None and threshold.value is not None:
        lines.append(f"  threshold           {threshold.value:+.4f}  {threshold.of}")
        if threshold.rank is not None:
            lines.append(f"  rank                {threshold.rank:,} of {threshold.pool_size:,}")
    return lines


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
