"""A flow with one training in a child process, and its server's runner.

    python -m tests.stress.served_training HOME [inline]

Serves the deployment ``train/one`` until it is stopped; with ``inline`` it trains at once, in a
process of its own and without Prefect, and prints the id of the policy.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import cast

from prefect import flow
from prefect.deployments.runner import RunnerDeployment

from deployments.runners import Group, serve
from recap_core.config.training import TrainRuntime
from recap_core.lineage.artifacts import PolicyCheckpoint
from recap_core.lineage.store import Store
from recap_core.stages.train_policy import train_policy as stage
from tasks.store import open_store
from tasks.training import train_policy
from tests.core.stages.policy_training import MODEL, config, inputs

NUM_STEPS = 1500
RUNTIME = TrainRuntime(log_interval=10, save_interval=200, cancel_grace_s=30)


@flow(name="train")
def train() -> PolicyCheckpoint:
    """Train in a child process."""
    dataset, stats = inputs(open_store())
    return train_policy(dataset, stats, None, config(MODEL, NUM_STEPS), RUNTIME, name="p")


if __name__ == "__main__":
    os.environ["RECAP_HOME"] = sys.argv[1]
    if sys.argv[2:] == ["inline"]:
        store = Store(Path(sys.argv[1]))
        dataset, stats = inputs(store)
        made = stage(
            dataset,
            stats,
            None,
            config(MODEL, NUM_STEPS),
            runtime=RUNTIME,
            name="p",
            store=store,
        )
        sys.stdout.write(made.id)
    else:
        deployment = cast("RunnerDeployment", train.to_deployment("one"))
        asyncio.run(serve([Group("train", [deployment], limit=1)], None))
