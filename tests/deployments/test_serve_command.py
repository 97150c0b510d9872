"""``recap serve`` as a user meets it, in a process of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from deployments.cli.main import app
from deployments.cli.serve_command import handshake_metadata
from recap_core.errors import CheckpointError, ConfigError, RecapError, ServerError
from recap_core.lineage.layout import Layout
from recap_core.lineage.store import Store
from recap_core.lineage.uses import in_service
from recap_core.serving.client import WebsocketPolicy
from tests.core.serving import tiny
from tests.core.serving.test_following import publish

ROOT = Path(__file__).parents[2]

type Serve = Callable[..., tuple[subprocess.Popen[str], dict[str, Any]]]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy directory."""
    return tiny.write_checkpoint(tmp_path_factory.mktemp("serve") / "policy")


@pytest.fixture
def serve(tmp_path: Path) -> Generator[Serve]:
    """Start ``recap serve`` and wait for the line that it prints when it is ready."""
    processes: list[subprocess.Popen[str]] = []

    def start(
        *arguments: object, **environment: str
    ) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "deployments.cli.main", "serve", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "RECAP_HOME": str(tmp_path / "home"),
                **environment,
            },
        )
        processes.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        return process, json.loads(line)

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_directory_is_served_until_a_signal(
    serve: Serve, checkpoint: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """Ready when it says so; a signal ends it with status 0; no store appears."""
    process, facts = serve(checkpoint, "--port", 0, "--json", "--default-prompt", "lift it")
    with WebsocketPolicy(facts["url"]) as client:
        observation = tiny.observation()
        del observation["prompt"]
        answer = client.infer(observation)

        process.send_signal(number)
        assert process.wait(tiny.PATIENCE_S) == 0

    assert answer["actions"].shape == (8, 14)
    assert set(answer) == {"actions", "policy_timing", "server_timing"}
    assert (facts["policy"]["name"], facts["policy"]["default_prompt"]) == ("policy", "lift it")
    assert facts["follows"] is None
    assert list(tmp_path.iterdir()) == []


def test_a_ref_is_served_and_followed(serve: Serve, checkpoint: Path, tmp_path: Path) -> None:
    """Promoting another policy replaces the one that is served, over the same connection."""
    store = Store(tmp_path / "home")
    second_directory = tiny.write_checkpoint(tmp_path / "second", seed=1)
    first, second = (
        publish(store, name, directory)
        for name, directory in (("first", checkpoint), ("second", second_directory))
    )
    store.set_ref("demo/yam/current", first)
    _, facts = serve("demo/yam/current", "--port", 0, "--json", "--record", tmp_path / "rec")
    assert facts["follows"] == "demo/yam/current"
    with WebsocketPolicy(facts["url"]) as client:
        assert client.infer(tiny.observation())["policy"] == f"first-{first.id[:8]}"

        store.set_ref("demo/yam/current", second)
        until, names = time.monotonic() + tiny.PATIENCE_S, {""}
        while f"second-{second.id[:8]}" not in names and time.monotonic() < until:
            names.add(client.infer(tiny.observation())["policy"])
            time.sleep(0.2)

    assert f"second-{second.id[:8]}" in names
    [owner] = in_service(Layout(store.home))  # no garbage collection takes what it serves
    assert owner.inputs == (first.id, second.id)
    assert {note.name for note in (store.home / "uses").iterdir()} == {first.id, second.id}
    with np.load(min((tmp_path / "rec").glob("*.npz")), allow_pickle=False) as found:
        assert str(found["outputs/policy"]) == f"first-{first.id[:8]}"


def test_what_is_served_is_told_in_a_block(checkpoint: Path, tmp_path: Path) -> None:
    """For people: what a client has to send, what it gets, and where."""
    (tmp_path / "key").write_text("s3cret\n")
    options = ["--port", "0", "--guidance", "1.5", "--api-key-file", str(tmp_path / "key")]
    process = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "deployments.cli.main", "serve", str(checkpoint), *options],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    lines = [process.stdout.readline().rstrip() for _ in range(8)]
    url = lines[7].split()[1]
    with WebsocketPolicy(url, api_key="s3cret") as client:
        assert client.infer(tiny.observation())["actions"].shape == (8, 14)
    process.terminate()
    rest = process.communicate(timeout=tiny.PATIENCE_S)[0]

    views = tiny.CONFIG.embodiment.views
    cameras = [f"{view} from {camera}" for view, camera in views.items()]
    assert lines[:7] == [
        "policy   policy",
        "state    14 numbers (observation.state)",
        f"cameras  {', '.join(cameras)}",
        "prompt   of the client, always",
        "adv_ind  of the client, else positive",
        "actions  8 x 14, 2 steps, guidance 1.5",
        "limits   64 MiB a message, API key needed",
    ]
    assert "s3cret" not in "".join(lines) + rest
    assert process.returncode == 0


def refused(*arguments: object) -> RecapError:
    """What the command says, run in this process."""
    done: Result = CliRunner().invoke(app, ["serve", *map(str, arguments)])
    assert isinstance(done.exception, RecapError), done
    return done.exception


def test_a_port_in_use_is_known_before_anything_is_loaded(checkpoint: Path) -> None:
    """The error names it, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        error = refused(checkpoint, "--port", port)

    assert isinstance(error, ServerError)
    assert f"127.0.0.1:{port} cannot be listened on" in str(error)
    assert "--port" in str(error)


def test_what_cannot_be_served_is_an_error(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each names the next step."""
    monkeypatch.setenv("RECAP_HOME", str(tmp_path / "home"))
    experiment = tmp_path / "exp"
    (experiment / "29999").mkdir(parents=True)
    plain = tmp_path / "plain"
    (plain / "params").mkdir(parents=True)
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "empty").write_text("\n")

    cases: list[tuple[tuple[object, ...], type[RecapError], str]] = [
        ((tmp_path / "nowhere",), CheckpointError, "there is no directory"),
        ((experiment,), CheckpointError, f"Name one of its steps: {experiment / '29999'}"),
        ((plain,), ConfigError, "--config pi05_libero"),
        ((plain, "--config", "pi05_liber", "--port", 0), ConfigError, "pi05_libero"),
        ((plain, "--config", "pi05_libero", "--port", 0), CheckpointError, "norm stats"),
        ((checkpoint, "--asset-id", "x"), ConfigError, "--asset-id goes with --config"),
        (("demo/yam/current",), RecapError, "no ref 'demo/yam/current'"),
        (("demo/yam/current", "--config", "x"), ConfigError, "--config is for directories"),
        ((checkpoint, "--metadata", tmp_path / "list.json"), ConfigError, "no JSON object"),
        ((checkpoint, "--api-key-file", tmp_path / "empty"), ConfigError, "printable ASCII"),
        ((checkpoint, "--api-key-file", tmp_path / "none"), ConfigError, "cannot be read"),
        ((checkpoint, "--host", "192.0.2.1", "--port", 0), ServerError, "192.0.2.1:0"),
        ((checkpoint, "--port", 0, "--record", checkpoint / "policy.json"), ConfigError, "record"),
    ]
    for arguments, kind, message in cases:
        error = refused(*arguments)
        assert isinstance(error, kind), arguments
        assert message in str(error), arguments


def test_a_missing_tokenizer_says_where_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Published tokenizers are not part of the package."""
    monkeypatch.delenv("RECAP_WEIGHTS", raising=False)
    prompt = tiny.CONFIG.prompt.model_copy(update={"tokenizer": "paligemma"})
    config = tiny.CONFIG.model_copy(update={"prompt": prompt})
    directory = tiny.write_checkpoint(tmp_path / "policy", config=config)

    error = refused(directory, "--port", 0)

    assert isinstance(error, ConfigError)
    assert "paligemma_tokenizer.model" in str(error)


def test_a_named_configuration_tells_its_metadata(tmp_path: Path) -> None:
    """Openpi's Aloha clients move to ``reset_pose``; a file wins over the configuration."""
    file = tmp_path / "metadata.json"
    file.write_text('{"reset_pose": [1], "cell": 3}')

    assert handshake_metadata("pi05_aloha", None) == {"reset_pose": [0, -1.5, 1.5, 0, 0, 0]}
    assert handshake_metadata("pi05_aloha", file) == {"reset_pose": [1], "cell": 3}
    assert handshake_metadata("pi05_libero", None) == {}
    assert handshake_metadata(None, file) == {"reset_pose": [1], "cell": 3}
