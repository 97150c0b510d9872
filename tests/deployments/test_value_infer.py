"""``recap value infer`` as a user meets it."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from deployments.cli.main import app
from recap_core.errors import ConfigError, IncompatibleError
from recap_core.valuation.values import read_values
from tests.core.stages.value_inference import store_inputs


def recap(*arguments: str) -> Result:
    done = CliRunner().invoke(app, ["value", "infer", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_values_are_inferred_once(recap_home: Path) -> None:
    """Rollouts unless all are asked for; the same command again finds the same artifact."""
    dataset, model, store = store_inputs(recap_home)
    command = (model.id, dataset.id, "-r", "batch_size=4", "-r", "shard_frames=16")

    told = recap(*command).stdout
    again = json.loads(recap(*command, "--json").stdout)
    every = json.loads(recap(*command, "--json", "--frames", "all", "--name", "every").stdout)

    assert "30 of 40 frames, V from -0." in told
    assert "frames/s in batches of 4" in told
    assert again["id"][:8] in told
    assert (again["frames"], again["num_missing"]) == ("rollouts", 10)
    assert (every["frames"], every["num_missing"], every["name"]) == ("all", 0, "every")
    values = [read_values(store.path(store.get(found["id"]))) for found in (again, every)]
    rollouts = ~np.isnan(values[0])
    np.testing.assert_allclose(values[0][rollouts], values[1][rollouts], atol=2e-6)


def test_a_wrong_artifact_or_setting_is_named(recap_home: Path) -> None:
    """Arguments the wrong way round, and workers without a flow."""
    dataset, model, _ = store_inputs(recap_home)

    with pytest.raises(IncompatibleError, match="a value model was expected"):
        recap(dataset.id, model.id)
    with pytest.raises(ConfigError, match="several workers need a flow"):
        recap(model.id, dataset.id, "-r", "num_workers=2")
