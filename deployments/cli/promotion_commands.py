"""``recap promote``, ``reject``, ``rollback`` and ``candidates``: people decide about policies.

Whatever takes time to import is imported inside the commands, so that help is instant.
"""

import json as json_format
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from deployments.cli.options import JsonOption, Output, print_indented

if TYPE_CHECKING:
    from rich.table import Table

    from deployments.cli.promotion_facts import Candidate
    from recap_core.lineage.artifacts import PolicyCheckpoint
    from recap_core.lineage.store import Store

PANEL = "Rounds"

PolicyArgument = Annotated[
    str | None,
    typer.Argument(
        help="Policy: id, name-id8 or ref (round-3-policy). Default: the project's candidate."
    ),
]
ProjectOption = Annotated[
    str | None,
    typer.Option(help="project/robot, or project. Default: the only one of the store."),
]
NoteOption = Annotated[str | None, typer.Option(help="Why; kept in the history of the ref.")]
ByOption = Annotated[str | None, typer.Option(help="Who decides. Default: your user name.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask on a terminal.")]


def add_promotion_commands(app: typer.Typer) -> None:
    """Add them to the ``recap`` command, each with an example that can be copied."""
    project = "--project demo/sim-aloha"
    for function, example in (
        (candidates, project),
        (score, f"monday-1a2b3c4d {project}"),
        (promote, f"{project} --note 'steady grip'"),
        (reject, f"{project} --note 'drops the cube'"),
        (rollback, project),
    ):
        name = function.__name__
        app.command(name, rich_help_panel=PANEL, epilog=f"Example: recap {name} {example}")(
            function
        )


def promote(  # noqa: PLR0913 - one parameter per option
    policy: PolicyArgument = None,
    *,
    project: ProjectOption = None,
    note: NoteOption = None,
    by: ByOption = None,
    yes: YesOption = False,
    json: JsonOption = False,
) -> None:
    """Make a policy current: the robots drive it, and the next round collects with it."""
    from deployments.cli.artifact_arguments import open_store
    from deployments.cli.promotion_facts import NOT_EVALUATED, compare_with_current, gate_of
    from recap_core.lineage.decisions import CURRENT, decision_on, person
    from recap_core.lineage.decisions import promote as make_current

    store = open_store()
    where, chosen = _chosen(store, project, policy)
    before = store.get_ref(f"{where}/{CURRENT}")
    if before == chosen:
        _answer(f"{_label(chosen)} is {where}/current already.", {"changed": False}, json=json)
        return
    decision = compare_with_current(store, where, chosen, gate_of(store, where))
    reasons = list(decision.reasons) if decision else [NOT_EVALUATED]
    told = Output(json=json, verbose=False).console
    told.print(f"{where}: [bold]{_label(chosen)}[/bold] to replace {_label(before)}")
    word = decision_on(store, where, chosen)
    if word is not None and word.word != "promoted":
        print_indented(told, f"  {escape(word.sentence())}")
    for reason in reasons:
        print_indented(told, f"  {escape(reason)}")
    _confirm(f"Promote {_label(chosen)}?", yes=yes)
    shown = {before.id if before else None}  # what the person has seen it compared with
    make_current(store, where, chosen, by=by or person(), note=note, instead_of=shown)
    woken = _wake(store, where, chosen)
    fields = {
        "changed": True,
        "project": where,
        "current": chosen.id,
        "previous": before.id if before else None,
        "evaluated": decision is not None,
        "reasons": reasons,
        "woken": woken,
    }
    _answer(
        f"{where}/current is {_label(chosen)}. {_undo(where)}{_woken(woken)}", fields, json=json
    )


def reject(
    policy: PolicyArgument = None,
    *,
    project: ProjectOption = None,
    note: NoteOption = None,
    by: ByOption = None,
    json: JsonOption = False,
) -> None:
    """Turn a candidate down; the policy in use stays."""
    from deployments.cli.artifact_arguments import open_store
    from recap_core.lineage.decisions import person
    from recap_core.lineage.decisions import reject as turn_down

    store = open_store()
    where, chosen = _chosen(store, project, policy)
    turn_down(store, where, chosen, by=by or person(), note=note)
    woken = _wake(store, where, chosen)
    text = f"{_label(chosen)} is rejected; {where}/current stays.{_woken(woken)}"
    _answer(text, {"project": where, "rejected": chosen.id, "woken": woken}, json=json)


def rollback(  # noqa: PLR0913 - one parameter per option
    *,
    to: Annotated[
        str | None, typer.Option(help="Policy: id, name-id8 or ref. Default: the one before.")
    ] = None,
    project: ProjectOption = None,
    note: NoteOption = None,
    by: ByOption = None,
    yes: YesOption = False,
    json: JsonOption = False,
) -> None:
    """Put the policy back in use that was current before; nothing is deleted."""
    from deployments.cli.artifact_arguments import open_store
    from deployments.cli.promotion_facts import policy_named, project_named
    from recap_core.lineage.decisions import person
    from recap_core.lineage.decisions import rollback as put_back

    store = open_store()
    where = project_named(store, project)
    chosen = policy_named(store, where, to) if to else None
    _confirm(
        f"Roll {where}/current back to {_label(chosen) if chosen else 'what it was'}?", yes=yes
    )
    now, before = put_back(store, where, to=chosen, by=by or person(), note=note)
    fields = {"project": where, "current": before.id, "previous": now.id}
    text = f"{where}/current is {_label(before)} again; it was {_label(now)}."
    _answer(text, fields, json=json)


def score(
    recording: Annotated[
        str, typer.Argument(help="Recording of the policy's own episodes: id, name-id8 or ref.")
    ],
    policy: PolicyArgument = None,
    *,
    project: ProjectOption = None,
    leave_out_takeovers: Annotated[
        bool | None,
        typer.Option(
            "--leave-out-takeovers/--takeovers-fail",
            help="Leave episodes out in which somebody took over, or count them as failures. "
            "Default: of a session that was recorded as an evaluation they are disqualified, else "
            "they are failures.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """An operator's evaluation: how a policy did in episodes that were recorded and marked.

    'recap evaluate --recording' says more, and compares several.
    """
    from deployments.cli.artifact_arguments import artifact_of_kind, open_store, tell
    from deployments.cli.evaluate_recorded import score_one
    from deployments.cli.promotion_facts import candidate_of, policy_named, project_named
    from recap_core.lineage.artifacts import Recording
    from recap_core.lineage.headlines import success_text
    from recap_core.stages.score_recording import driver_of

    store = open_store()
    recorded = artifact_of_kind(store, recording, Recording, wanted="a recording")
    where = project_named(store, project)
    chosen = policy_named(store, where, policy) if policy else driver_of(recorded, store)
    chosen = chosen or candidate_of(store, where)
    tried = score_one(store, where, recorded, chosen, is_left_out=leave_out_takeovers)
    success = success_text(tried.evaluation)
    lines = [f"{_label(chosen)} succeeds in {success} episodes of {_label(recorded)}"]
    lines += [f"{left.episode} {left.why}" for left in tried.left_out]
    tell(tried.evaluation, store, json=json, lines=lines)


def candidates(
    *,
    project: ProjectOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Newest policies to show.")] = 10,
    json: JsonOption = False,
) -> None:
    """The policies that rounds have made: what the gate and people said, how they did."""
    from deployments.cli.artifact_arguments import open_store
    from deployments.cli.promotion_facts import candidates as all_candidates
    from deployments.cli.promotion_facts import project_named
    from recap_core.lineage.waiting import all_waiting

    store = open_store()
    where = project_named(store, project)
    found = all_candidates(store, where)
    waiting = all_waiting(store.home, where)
    if json:
        rows = [_fields(candidate) for candidate in found[:limit]]
        waits = [note.model_dump(mode="json") for note in waiting]
        _answer("", {"project": where, "policies": rows, "waiting": waits}, json=True)
        return
    console = Output(json=False, verbose=False).console
    if not found:
        console.print(f"{where} has no new policy yet; run recap iterate.")
        return
    console.print(_table(where, found[:limit]))
    if any(each.is_stopped_early for each in found[:limit]):
        from recap_core.evaluation.gate_words import STOPPED_EARLY

        print_indented(console, escape(f"* {STOPPED_EARLY}"))
    if len(found) > limit:
        console.print(f"{len(found) - limit} older ones; show them with --limit {len(found)}")
    for note in waiting:
        needs = "approval" if note.waits_for == "approval" else f"{note.num_episodes} new episodes"
        console.print(
            f"Run {note.run_name} waits for {needs} until {note.until:%Y-%m-%d %H:%M} UTC."
        )
    newest = next((each for each in found if each.is_candidate), None)
    if newest is not None and newest.word is None and newest.reasons:  # still to be decided
        console.print(f"Candidate {_label(newest.policy)}: {newest.reasons[0]}", markup=False)


def _chosen(
    store: "Store", project: str | None, policy: str | None
) -> "tuple[str, PolicyCheckpoint]":
    from deployments.cli.promotion_facts import candidate_of, policy_named, project_named

    where = project_named(store, project)
    return where, policy_named(store, where, policy) if policy else candidate_of(store, where)


def _confirm(question: str, *, yes: bool) -> None:
    if not yes and sys.stdin.isatty():
        typer.confirm(question, abort=True, err=True)


def _wake(store: "Store", project: str, policy: "PolicyCheckpoint") -> list[str]:
    """Tell the runs that wait for a word on this policy; without a server they find out later."""
    from recap_core.lineage.waiting import all_waiting

    waiting = [note for note in all_waiting(store.home, project) if note.policy == policy.id]
    if not waiting:
        return []
    from deployments.cli.promotion_waking import wake_runs

    return wake_runs(store.home, waiting)


def _woken(names: list[str]) -> str:
    return f" Run {', '.join(names)} goes on." if names else ""


def _undo(project: str) -> str:
    return f"Undo it with: recap rollback --project {project}."


def _table(project: str, found: "list[Candidate]") -> "Table":
    from rich.table import Table

    table = Table(title=f"Policies of {project}", title_justify="left", box=None)
    for column in ("policy", "round", "gate", "decision", "evaluation", "offline", "age"):
        table.add_column(column)
    for each in found:
        fields = _fields(each)
        mark = "[bold]" if each.is_current else ""
        table.add_row(
            f"{mark}{_label(each.policy)}",
            str(each.round_index or ""),
            each.verdict or "",
            "current" if each.is_current else fields["decision"] or "",
            (fields["success"] or "not evaluated") + "*" * each.is_stopped_early,
            fields["offline"] or "none",
            _age(each.made_at),
        )
    return table


def _fields(candidate: "Candidate") -> dict[str, Any]:
    from deployments.cli.promotion_facts import check_text
    from recap_core.lineage.headlines import success_text

    word = candidate.word
    return {
        "policy": candidate.policy.id,
        "name": _label(candidate.policy),
        "round": candidate.round_index,
        "verdict": candidate.verdict,
        "reasons": list(candidate.reasons),
        "decision": word.word if word else None,
        "decided": word.sentence() if word else None,
        "is_current": candidate.is_current,
        "is_candidate": candidate.is_candidate,
        "success": success_text(candidate.evaluation) if candidate.evaluation else None,
        "evaluation": candidate.evaluation.id if candidate.evaluation else None,
        "is_stopped_early": candidate.is_stopped_early,
        "offline": check_text(candidate.offline) if candidate.offline else None,
        "made_at": candidate.made_at.isoformat(),
    }


def _age(made_at: datetime) -> str:
    seconds = (datetime.now(UTC) - made_at).total_seconds()
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _label(artifact: Any) -> str:  # noqa: ANN401 - an artifact, or None
    return f"{artifact.name}-{artifact.id[:8]}" if artifact is not None else "no policy"


def _answer(text: str, fields: dict[str, Any], *, json: bool) -> None:
    sys.stdout.write((json_format.dumps(fields, indent=2) if json else text) + "\n")
