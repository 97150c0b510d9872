"""Evaluate policies block by block, and stop as soon as what was asked is known.

No stage of its own: what is published are evaluations of the stage ``evaluate``, on as many seeds
as it took; they say that they were stopped early.
"""

import json
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from recap_core.config.collection import CollectRuntime
from recap_core.config.evaluation import EvaluationConfig
from recap_core.lineage.artifacts import Evaluation, PolicyCheckpoint
from recap_core.lineage.device_lock import device_lock
from recap_core.lineage.store import Store
from recap_core.progress import Progress, Silent
from recap_core.rollout.protocols import PolicyClient
from recap_core.stages.evaluate import EPISODES_FILE, publish_outcomes
from recap_core.stages.registry import EVALUATE

if TYPE_CHECKING:
    from recap_core.evaluation.outcome import EpisodeOutcome
    from recap_core.evaluation.sequential import Question, SequentialTest

BLOCK_SEEDS: Final = 25
"""Seeds between two looks; always whole blocks in order, so that a verdict does not depend on how
many robots there were."""
_MAY_DIFFER: Final = {"num_episodes", "first_seed", "confidence"}
"""Settings that change no single episode."""


class Decided(NamedTuple):
    """A comparison that has ended."""

    new: Evaluation
    reference: Evaluation
    """On the same seeds."""
    test: "SequentialTest"


type _Clients = Callable[[PolicyCheckpoint], PolicyClient]


class BlockEvaluator:
    """Runs policies on seeds as they are needed, each seed once.

    Episodes that an earlier evaluation of the store has run are taken from there. Policies are
    loaded when they are first asked, and stay on the device, which is locked from then on, until
    the comparison has ended.

    Args:
        config: Episode length and robot; the most seeds that a comparison may take.
        min_episodes: It does not end before so many seeds, if there are so many.
        store: Where policies and evaluations are.
        runtime: How many robots.
        progress: Told about every episode.
    """

    def __init__(
        self,
        config: EvaluationConfig,
        *,
        min_episodes: int = 1,
        store: Store,
        runtime: CollectRuntime | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._config = config
        self._min_episodes = min_episodes
        self._store = store
        self._num_robots = (runtime or CollectRuntime()).num_robots
        self._progress = progress or Silent()
        self._outcomes: dict[str, dict[int, EpisodeOutcome]] = {}

    def compare(
        self,
        new: PolicyCheckpoint,
        reference: PolicyCheckpoint,
        question: "Question",
        *,
        of_each: "Question | None" = None,
    ) -> Decided:
        """Try both on the same seeds until every question is answered, or the seeds are used up.

        Args:
            new: The policy in question.
            reference: What it is compared with.
            question: From :func:`~recap_core.evaluation.sequential.is_better`.
            of_each: Asked of either by itself, from
                :func:`~recap_core.evaluation.sequential.is_at_least`.
        """
        from recap_core.evaluation.sequential import SequentialTest

        test, done = SequentialTest(question), 0
        rates = [] if of_each is None else [SequentialTest(of_each), SequentialTest(of_each)]
        with self._device() as clients:
            while self._goes_on([test, *rates], done):
                seeds = self._block(done)
                both = [self._run(policy, seeds, clients) for policy in (new, reference)]
                test.add_all(
                    [
                        0.5 + (one.success - other.success) / 2
                        for one, other in zip(*both, strict=True)
                    ]
                )
                for rate, outcomes in zip(rates, both, strict=False):
                    rate.add_all([float(outcome.success) for outcome in outcomes])
                done += len(seeds)
        return Decided(self._published(new, done), self._published(reference, done), test)

    def reach(
        self, policy: PolicyCheckpoint, question: "Question"
    ) -> "tuple[Evaluation, SequentialTest]":
        """Try one policy until it is known whether it reaches a success rate.

        Args:
            policy: The policy.
            question: From :func:`~recap_core.evaluation.sequential.is_at_least`.
        """
        from recap_core.evaluation.sequential import SequentialTest

        test, done = SequentialTest(question), 0
        with self._device() as clients:
            while self._goes_on([test], done):
                seeds = self._block(done)
                outcomes = self._run(policy, seeds, clients)
                test.add_all([float(outcome.success) for outcome in outcomes])
                done += len(seeds)
        return self._published(policy, done), test

    def _goes_on(self, tests: "Sequence[SequentialTest]", done: int) -> bool:
        if done >= self._config.num_episodes:
            return False
        is_open = any(test.verdict == "continue" for test in tests)
        return is_open or done < self._min_episodes

    def _block(self, done: int) -> range:
        size = min(BLOCK_SEEDS, self._config.num_episodes - done)
        first = self._config.first_seed + done
        return range(first, first + size)

    def _run(
        self, policy: PolicyCheckpoint, seeds: Sequence[int], clients: _Clients
    ) -> "list[EpisodeOutcome]":
        from recap_core.evaluation.episodes import evaluate

        if policy.id not in self._outcomes:
            self._outcomes[policy.id] = known_outcomes(policy, self._config, store=self._store)
        known = self._outcomes[policy.id]
        missing = [seed for seed in seeds if seed not in known]
        if missing:
            found = evaluate(
                clients(policy),
                self._config,
                num_robots=self._num_robots,
                progress=self._progress,
                seeds=missing,
            )
            known |= {outcome.seed: outcome for outcome in found}
        return [known[seed] for seed in seeds]

    @contextmanager
    def _device(self) -> Generator[_Clients]:
        """Loads policies; nobody waits for the device where all episodes are known."""
        loaded: dict[str, PolicyClient] = {}
        with ExitStack() as held:

            def client(policy: PolicyCheckpoint) -> PolicyClient:
                if not loaded:
                    held.enter_context(device_lock(self._progress))
                    held.callback(loaded.clear)  # before the device is somebody else's
                if policy.id not in loaded:
                    from recap_core.serving.policy import LoadedPolicy

                    loaded[policy.id] = LoadedPolicy.load(
                        self._store.path(policy), batch_size=self._num_robots
                    )
                return loaded[policy.id]

            yield client

    def _published(self, policy: PolicyCheckpoint, num_seeds: int) -> Evaluation:
        config = self._config.model_copy(update={"num_episodes": num_seeds})
        seeds = range(config.first_seed, config.first_seed + num_seeds)
        outcomes = [self._outcomes[policy.id][seed] for seed in seeds]
        return publish_outcomes(
            outcomes,
            policy,
            config,
            name=policy.name,
            store=self._store,
            num_allowed=self._config.num_episodes,
        )


def known_outcomes(
    policy: PolicyCheckpoint, config: EvaluationConfig, *, store: Store
) -> "dict[int, EpisodeOutcome]":
    """Episodes of a policy that evaluations under the same conditions have run, by seed."""
    from recap_core.evaluation.outcome import EpisodeOutcome

    wanted = config.model_dump(exclude=_MAY_DIFFER)
    found: dict[int, EpisodeOutcome] = {}
    for manifest in store.artifacts():
        if (manifest.stage, manifest.stage_version) != (EVALUATE.id, EVALUATE.version):
            continue
        if policy.id not in [parent.id for parent in manifest.parents]:
            continue
        settings = EvaluationConfig.model_validate(manifest.config)
        if settings.model_dump(exclude=_MAY_DIFFER) != wanted:
            continue
        text = (store.path(manifest.artifact()) / EPISODES_FILE).read_text(encoding="utf-8")
        rows = [EpisodeOutcome.model_validate(row) for row in json.loads(text)]
        found |= {row.seed: row for row in rows}
    return found
