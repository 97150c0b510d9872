"""``recap evaluate``: how often policies succeed, and which is better.

Whatever takes time to import is imported inside the command, so that help is instant.
"""

import json as json_format
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.markup import escape

from deployments.cli.options import JsonOption, Output
from deployments.cli.promotion_commands import ProjectOption

if TYPE_CHECKING:
    from rich.console import Console

    from deployments.cli.evaluate_simulated import Simulated, Wanted
    from deployments.cli.evaluation_facts import Compared, Tried
    from recap_core.config.evaluation import EvaluationConfig
    from recap_core.config.flows import ProjectConfig
    from recap_core.config.gate import GateConfig
    from recap_core.evaluation.sequential import SequentialTest
    from recap_core.lineage.store import Store


class Videos(StrEnum):
    """Which episodes are filmed."""

    failures = "failures"
    all = "all"
    none = "none"


RecordingsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--recording",
        "-r",
        metavar="RECORDING",
        help="Score this recording of the policy's own episodes instead of simulating; repeat it "
        "to compare several.",
    ),
]
PoliciesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[POLICY]...",
        help="Policies: id, name-id8 or ref (round-3-policy). Default: the project's "
        "candidate, or where there is none its current policy.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="KEY=VALUE",
        help="One setting of iteration.evaluation or iteration.gate, such as "
        "iteration.gate.rule=better; may be repeated.",
    ),
]
AgainstOption = Annotated[
    str | None,
    typer.Option(
        metavar="POLICY",
        help="What they are compared with. Default: current; start for current itself.",
    ),
]
EpisodesOption = Annotated[
    int | None,
    typer.Option(min=1, max=100_000, help="Of each policy; with --stop-early at most."),
]
FirstSeedOption = Annotated[
    int | None, typer.Option(min=0, help="Episode i starts from this seed plus i.")
]
StopEarlyOption = Annotated[
    bool,
    typer.Option(
        "--stop-early",
        help="In blocks of 25 seeds, until it is known which is better, and with --at-least also "
        "whether each reaches the rate; never before gate.min_episodes.",
    ),
]
AtLeastOption = Annotated[
    float | None,
    typer.Option(min=0.01, max=0.99, help="Success rate to be reached, such as 0.8."),
]
TakeoversOption = Annotated[
    bool | None,
    typer.Option(
        "--leave-out-takeovers/--takeovers-fail",
        help="Of recordings. Default: disqualified where every one is an evaluation, else "
        "failures.",
    ),
]
VideosOption = Annotated[Videos, typer.Option(help="Film episodes, each run again from its seed.")]
VideosLimitOption = Annotated[int, typer.Option(min=1, help="Videos per policy.")]
OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Directory of the videos. Default: ./evaluation."),
]
RecordOption = Annotated[
    bool,
    typer.Option(
        "--record", help="Keep the episodes as recordings, on seeds of their own, to train on."
    ),
]


def evaluate(  # noqa: PLR0913 - one parameter per option
    policies: PoliciesArgument = None,
    *,
    project: ProjectOption = None,
    against: AgainstOption = None,
    recordings: RecordingsOption = None,
    episodes: EpisodesOption = None,
    first_seed: FirstSeedOption = None,
    settings: SetOption = None,
    stop_early: StopEarlyOption = False,
    at_least: AtLeastOption = None,
    leave_out_takeovers: TakeoversOption = None,
    videos: VideosOption = Videos.none,
    videos_limit: VideosLimitOption = 8,
    output: OutputOption = None,
    record: RecordOption = False,
    json: JsonOption = False,
) -> None:
    """How often policies succeed, and which is better: in simulation, or on recorded episodes.

    In simulation all policies meet the same scenes (seeds), nobody takes over, and what was
    evaluated before is not run again. Without --stop-early the number of episodes is fixed.
    """
    from deployments.cli.artifact_arguments import open_store
    from deployments.cli.evaluate_simulated import Wanted, project_settings
    from deployments.cli.promotion_facts import gate_of, project_named

    store = open_store()
    where = project_named(store, project)
    gate = gate_of(store, where)
    wanted = Wanted(
        project=where,
        policies=tuple(policies or ()),
        against=against,
        num_episodes=episodes,
        first_seed=first_seed,
        settings=tuple(settings or ()),
        is_stopped_early=stop_early,
        is_recorded=record,
        target=at_least,
    )
    told = Output(json=json, verbose=False)
    if recordings:
        _refuse_simulation(wanted, videos)
        answer = _Answer(store, where, gate, wanted, told)
        answer.of_recordings(recordings, is_left_out=leave_out_takeovers)
        return
    if leave_out_takeovers is not None:
        _refuse("--leave-out-takeovers and --takeovers-fail are of recordings; name one with -r")
    used = project_settings(store, where, wanted.settings, gate)
    films = _Films(videos, videos_limit, output or Path("evaluation"))
    _Answer(store, where, used.iteration.gate, wanted, told).of_simulation(used, films)


class _Films(NamedTuple):
    """Which episodes are filmed, at most how many of a policy, and where to."""

    videos: Videos
    limit: int
    directory: Path


class _Answer:
    """Runs what was asked for, and tells what came of it."""

    def __init__(
        self, store: "Store", project: str, gate: "GateConfig", wanted: "Wanted", output: Output
    ) -> None:
        self._store = store
        self._project = project
        # Who has the last word does not change what is shown.
        self._gate = gate.model_copy(update={"approval": "automatic"})
        self._wanted = wanted
        self._output = output

    def of_simulation(self, project: "ProjectConfig", films: _Films) -> None:
        """Simulated episodes."""
        from deployments.cli.evaluate_simulated import evaluate_all

        found = evaluate_all(self._store, self._wanted, project, self._gate)
        page = self._film(found, project, films)
        fields = {
            "kind": "simulated",
            "first_seed": found.config.first_seed,
            "stopped_early": self._wanted.is_stopped_early,
            "videos": str(page.absolute()) if page else None,
            "recordings": [recording.id for recording in found.recordings],
            "notes": list(found.notes),
        }
        after = [*found.notes, *([f"Videos: {page.absolute()}"] if page else [])]
        self._tell(found.tried, found.comparisons, fields, after, of=found.config)

    def of_recordings(self, names: list[str], *, is_left_out: bool | None) -> None:
        """Recorded episodes; all are compared with the reference's, else with the first ones."""
        from deployments.cli.evaluate_recorded import score_all
        from deployments.cli.evaluation_facts import compare
        from deployments.cli.promotion_facts import newest_check

        tried = score_all(
            self._store, self._project, names, self._wanted.policies, is_left_out=is_left_out
        )
        reference = self._reference(tried)
        comparisons = tuple(
            compare(
                one,
                reference,
                gate=self._gate,
                offline=newest_check(self._store, one.policy),
                store=self._store,
            )
            for one in tried
            if one is not reference and one.policy != reference.policy
        )
        self._tell(tuple(tried), comparisons, {"kind": "recorded"}, [], of=None)

    def _reference(self, tried: "list[Tried]") -> "Tried":
        from deployments.cli.evaluation_facts import label
        from deployments.cli.promotion_facts import policy_named
        from recap_core.lineage.decisions import CURRENT

        against = self._wanted.against
        has_current = f"{self._project}/{CURRENT}" in self._store.refs()
        name = against or (CURRENT if has_current else None)
        policy = policy_named(self._store, self._project, name) if name else None
        found = next((one for one in tried if one.policy == policy), None)
        if found is None and against is not None and policy is not None:
            _refuse(
                f"--against {against} is {label(policy)}, and no recording is of that policy; they "
                f"are of {', '.join(dict.fromkeys(one.label for one in tried))}. Name a recording "
                "of it with -r, or leave --against out"
            )
        return found or tried[0]

    def _film(self, found: "Simulated", project: "ProjectConfig", films: _Films) -> Path | None:
        if films.videos is Videos.none:
            return None
        from deployments.cli.evaluation_films import film_all

        return film_all(
            self._store,
            found.tried,
            found.config,
            only_failures=films.videos is Videos.failures,
            limit=films.limit,
            directory=films.directory,
            runtime=project.runtime.collect,
        )

    def _tell(
        self,
        tried: "tuple[Tried, ...]",
        comparisons: "tuple[Compared, ...]",
        fields: dict[str, Any],
        after: list[str],
        *,
        of: "EvaluationConfig | None",
    ) -> None:
        tests = self._targets(tried)
        following = self._next(comparisons)
        if self._output.json:
            told = {
                "project": self._project,
                **fields,
                "policies": [one.plain() for one in tried],
                "comparisons": [one.plain() for one in comparisons],
                "targets": [_target(one, test) for one, test in tests],
                "next": following,
            }
            sys.stdout.write(json_format.dumps(told, indent=2) + "\n")
            return
        from deployments.cli.evaluation_text import print_comparison, print_table, print_target

        console = self._output.console
        if of is None:
            print_table(console, tried)
        else:
            print_table(console, tried, fps=of.robot.fps, confidence=of.confidence)
        for one, test in tests:
            print_target(console, one, test)
        for compared in comparisons:
            print_comparison(console, compared, is_stopped_early=self._wanted.is_stopped_early)
        for text in after:
            console.print(escape(text), soft_wrap=True)
        self._offer(console, comparisons, following)

    def _targets(self, tried: "tuple[Tried, ...]") -> "list[tuple[Tried, SequentialTest]]":
        from deployments.cli.evaluation_facts import against_target

        target = self._wanted.target
        if target is None:
            return []
        return [(one, against_target(one, target, self._gate.confidence)) for one in tried]

    def _next(self, comparisons: "tuple[Compared, ...]") -> str | None:
        """The command that puts the best policy in use, where the gate would let it pass."""
        current = self._store.refs().get(f"{self._project}/current")
        passing = [
            one
            for one in comparisons
            if one.decision.verdict == "promoted" and one.reference.policy.id == current
        ]
        if not passing:
            return None
        best = max(passing, key=lambda one: one.new.row.rate)
        return f"recap promote {best.new.label} --project {self._project}"

    def _offer(
        self, console: "Console", comparisons: "tuple[Compared, ...]", following: str | None
    ) -> None:
        if following is None:
            if comparisons:
                console.print(f"\n{self._nothing(comparisons)}", soft_wrap=True)
            return
        console.print(f"\nNext: {following}", soft_wrap=True)
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            return
        label = following.split()[2]
        if typer.confirm(f"Promote {label} now?", default=False):
            from deployments.cli.promotion_commands import promote

            promote(label, project=self._project)  # shows what it rests on, and asks

    def _nothing(self, comparisons: "tuple[Compared, ...]") -> str:
        current = self._store.refs().get(f"{self._project}/current")
        is_of_current = any(one.reference.policy.id == current for one in comparisons)
        if not is_of_current:
            return "Nothing to promote: the reference is not the policy in use (--against current)."
        return (
            "The gate would promote none of them; a person may: recap promote POLICY --project "
            f"{self._project}"
        )


def _target(tried: "Tried", test: "SequentialTest") -> dict[str, Any]:
    from recap_core.evaluation.tally import verdict_sentence

    standing = test.standing()
    return {
        "policy": tried.policy.id,
        "target": test.question.centre,
        "verdict": standing.verdict,
        "num_episodes_at_verdict": test.num_at_verdict,
        "num_more": standing.num_more,
        "interval": list(standing.interval),
        "sentence": verdict_sentence(test),
    }


def _refuse_simulation(wanted: "Wanted", videos: Videos) -> None:
    """Options that only simulated episodes have."""
    given = {
        "--episodes": wanted.num_episodes is not None,
        "--first-seed": wanted.first_seed is not None,
        "--set": bool(wanted.settings),
        "--stop-early": wanted.is_stopped_early,
        "--record": wanted.is_recorded,
        "--videos": videos is not Videos.none,
    }
    named = [option for option, is_given in given.items() if is_given]
    if named:
        _refuse(
            f"{', '.join(named)} and --recording exclude each other: recorded episodes have been "
            "run. Leave one out"
        )


def _refuse(message: str) -> None:
    from recap_core.errors import ConfigError

    raise ConfigError(message)
