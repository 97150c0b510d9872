"""What a run prints at its end: a table for people, or JSON for programs."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from deployments.cli.options import Output
from deployments.cli.stage_table import StageRow, stage_rows, stage_table
from flows.results import BootstrapResult, IterationResult, Judgement
from recap_core.lineage.artifacts import Evaluation
from recap_core.lineage.headlines import success_text
from recap_core.lineage.store import Store


def answer(
    results: Sequence[BootstrapResult | IterationResult],
    store: Store,
    output: Output,
    *,
    began: datetime,
    is_served: bool = False,
) -> None:
    """Print what flows that ran since ``began`` returned, here or, ``is_served``, elsewhere."""
    rows = stage_rows(results, store, since=began)
    rounds = [result for result in results if isinstance(result, IterationResult)]
    seconds = (datetime.now(UTC) - began).total_seconds()
    if output.json:
        sys.stdout.write(json.dumps(_plain(rows, rounds, store, seconds), indent=2) + "\n")
        return
    console = output.console
    console.print()
    console.print(stage_table(rows))
    num_cached = sum(row.is_cached for row in rows)
    console.print(f"\n{len(rows)} stages, {num_cached} of them cached, in {seconds:.1f} s")
    for result in rounds:
        _print_round(result, console)
    if rounds:
        console.print(f"Report: {_report(rounds[-1], store)}", soft_wrap=True)
    if not is_served:
        console.print("Look at the runs in Prefect's UI with: recap up")


def _print_round(result: IterationResult, console: Console) -> None:
    decision = {
        "promoted": "promoted",
        "candidate": "a candidate: a person promotes it or leaves it",
        "kept": "not promoted",
    }[result.decision.verdict]
    console.print(f"\n[bold]Round {result.round_index}[/bold]: the new policy is {decision}")
    for name, evaluation in _scores(result.judgement).items():
        console.print(f"  {name:<28} {success_text(evaluation)}")
    if result.learning.relabeling is None:
        console.print(
            "  [yellow]The value model was not healthy: the collector's labels were used.[/yellow]"
        )


def _scores(judgement: Judgement) -> dict[str, Evaluation]:
    scores = {"starting policy": judgement.before}
    if judgement.collector != judgement.before:
        scores["current policy"] = judgement.collector
    scores["control, demonstrations only"] = judgement.control
    scores["new policy"] = judgement.after
    return {name: score for name, score in scores.items() if score is not None}


def _report(result: IterationResult, store: Store) -> Path:
    return store.path(result.report) / "index.html"


def _plain(
    rows: list[StageRow], rounds: list[IterationResult], store: Store, seconds: float
) -> dict[str, Any]:
    return {
        "seconds": round(seconds, 3),
        "stages": [row.plain() for row in rows],
        "rounds": [
            {
                "round": result.round_index,
                "policy": result.learning.policy.id,
                "is_promoted": result.is_promoted,
                "verdict": result.decision.verdict,
                "reasons": list(result.decision.reasons),
                "is_value_model_healthy": result.learning.value_model.healthy,
                "success": {
                    name: evaluation.details()
                    for name, evaluation in _scores(result.judgement).items()
                },
                "report": str(_report(result, store)),
            }
            for result in rounds
        ],
    }
