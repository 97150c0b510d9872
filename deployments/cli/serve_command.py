"""``recap serve``: a policy for robots, by openpi's websocket protocol."""

import json as json_format
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from deployments.cli.options import JsonOption

if TYPE_CHECKING:
    from recap_core.config.policy import PolicyConfig
    from recap_core.config.serving import ServeSettings
    from recap_core.lineage.artifacts import PolicyCheckpoint
    from recap_core.lineage.store import Store
    from recap_core.serving.following import RefFollower
    from recap_core.serving.host import PolicyHost, ServedPolicy
    from recap_core.serving.statistics import ServingStatistics


class AdvInd(StrEnum):
    """Advantage class of observations that name none."""

    positive = "positive"
    negative = "negative"
    none = "none"
    omit = "omit"


class LoadOptions(NamedTuple):
    """How a checkpoint becomes a policy."""

    config: str | None
    asset_id: str | None
    default_prompt: str | None
    adv_ind: AdvInd
    guidance: float | None
    num_steps: int | None


class Source(NamedTuple):
    """Where the policy comes from."""

    directory: Path
    name: str
    artifact: "PolicyCheckpoint | None" = None
    store: "Store | None" = None
    ref: str | None = None
    """Ref that is followed."""


PolicyArgument = Annotated[
    str,
    typer.Argument(
        help="Artifact (id, name-id8), a ref such as demo/sim-aloha/current, which is followed "
        "as it moves, or a checkpoint's directory."
    ),
]
AdvIndOption = Annotated[
    AdvInd,
    typer.Option(help="Advantage class of observations without one; omit: no clause at all."),
]
KeyFileOption = Annotated[
    Path | None,
    typer.Option(help="File with the key that clients must send; or set RECAP_API_KEY."),
]
MetadataOption = Annotated[
    Path | None,
    typer.Option(help="JSON file with further metadata for clients, such as reset_pose."),
]


def serve(  # noqa: PLR0913 - one parameter per option
    policy: PolicyArgument,
    *,
    config: Annotated[
        str | None,
        typer.Option("--config", help="Named configuration of a directory without policy.json."),
    ] = None,
    asset_id: Annotated[
        str | None, typer.Option(help="Norm stats to use, of those in the directory's assets/.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: any free one.")] = 8000,
    default_prompt: Annotated[
        str | None, typer.Option(help="Task text of observations without one.")
    ] = None,
    adv_ind: AdvIndOption = AdvInd.positive,
    guidance: Annotated[
        float | None, typer.Option(min=0, help="Classifier-free guidance beta; 1: off.")
    ] = None,
    num_steps: Annotated[
        int | None, typer.Option(min=1, help="Denoising steps instead of the configured ones.")
    ] = None,
    record: Annotated[
        Path | None, typer.Option(help="Keep requests and answers in this directory, as .npz.")
    ] = None,
    record_limit: Annotated[
        int, typer.Option(min=1, help="Files that the directory may hold.")
    ] = 1000,
    max_message_mb: Annotated[
        float, typer.Option(min=0.001, max=4096, help="Largest message of a client, MiB.")
    ] = 64,
    max_connections: Annotated[int, typer.Option(min=1, help="Clients at once.")] = 32,
    api_key_file: KeyFileOption = None,
    metadata: MetadataOption = None,
    json: JsonOption = False,
) -> None:
    """Serve a policy to robots, until Ctrl-C or SIGTERM."""
    from recap_core.config.environment import api_key
    from recap_core.config.serving import ServeSettings
    from recap_core.serving.server import bind

    settings = ServeSettings(
        host=host, port=port, max_message_mb=max_message_mb, max_connections=max_connections
    )
    options = LoadOptions(config, asset_id, default_prompt, adv_ind, guidance, num_steps)
    _log_to_stderr()
    source = find_policy(policy, options)
    key, extra = api_key(api_key_file), handshake_metadata(options.config, metadata)
    listener = bind(host, port)  # before minutes of loading, so that a port in use is known now
    with listener, _service(source) as keep:
        recording = None if record is None else (record, record_limit)
        extras = _Extras(key, extra, recording, json, keep)
        _serve(source, options, settings, listener, extras)


class _Extras(NamedTuple):
    api_key: str | None
    metadata: dict[str, Any]
    recording: tuple[Path, int] | None
    json: bool
    keep: "Callable[[PolicyCheckpoint], None]"
    """Keeps a policy from garbage collection while this process runs."""


@contextmanager
def _service(source: Source) -> "Generator[Callable[[PolicyCheckpoint], None]]":
    """What keeps policies in the store while they are served; the first one at once."""
    store = source.store
    if store is None or source.artifact is None:
        yield lambda _: None
        return
    from recap_core.errors import ArtifactError

    kept: list[PolicyCheckpoint] = []
    with store.service() as service:

        def keep(policy: "PolicyCheckpoint") -> None:
            service.add(policy.id)
            store.use(policy)  # looked for after it was noted
            kept.append(policy)

        try:
            keep(source.artifact)
            yield keep
        finally:
            for policy in kept:  # it may be started again within some days
                with suppress(ArtifactError):
                    store.use(policy)


def _serve(
    source: Source,
    options: LoadOptions,
    settings: "ServeSettings",
    listener: socket.socket,
    extras: _Extras,
) -> None:
    import asyncio

    from recap_core.serving.host import PolicyHost
    from recap_core.serving.recorder import Recorder
    from recap_core.serving.server import PolicyServer
    from recap_core.serving.statistics import ServingStatistics

    statistics = ServingStatistics()
    recorder = None
    if extras.recording is not None:
        directory, limit = extras.recording
        recorder = Recorder(directory, limit=limit, statistics=statistics)
    began = time.perf_counter()
    served = load(source, options)
    load_s = time.perf_counter() - began
    compile_s = served.policy.warm_up()
    host = PolicyHost(
        served,
        metadata=extras.metadata,
        names_policy=source.ref is not None,
        recorder=recorder,
    )
    follower = _follower(source, options, host, statistics, extras.keep)

    def ready(url: str) -> None:
        facts = {
            "url": url,
            "follows": source.ref,
            "load_s": round(load_s, 2),
            "compile_s": round(compile_s, 2),
            "needs_api_key": extras.api_key is not None,
            "max_message_mb": settings.max_message_mb,
            "record": None if extras.recording is None else str(extras.recording[0]),
            "policy": served.facts(),
        }
        sys.stdout.write(json_format.dumps(facts) + "\n" if extras.json else _told(facts))
        sys.stdout.flush()

    server = PolicyServer(host, settings, statistics=statistics, api_key=extras.api_key)
    try:
        asyncio.run(_until_stopped(server, listener, ready))
    finally:
        if follower is not None:
            follower.stop()
        if recorder is not None:
            recorder.close()


def _follower(
    source: Source,
    options: LoadOptions,
    host: "PolicyHost",
    statistics: "ServingStatistics",
    keep: "Callable[[PolicyCheckpoint], None]",
) -> "RefFollower | None":
    """Whoever loads the policies that the ref is moved to; None where none is followed."""
    from recap_core.serving.following import RefFollower

    store, ref = source.store, source.ref
    if ref is None or store is None:
        return None

    def taken_up(artifact: "PolicyCheckpoint") -> "ServedPolicy":
        keep(artifact)
        return load(_of_store(store, artifact, ref), options)

    follower = RefFollower(
        store,
        ref,
        load=taken_up,
        host=host,
        statistics=statistics,
    )
    follower.start()
    return follower


async def _until_stopped(server: Any, listener: socket.socket, ready: Any) -> None:  # noqa: ANN401
    import asyncio

    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def begin_to_stop() -> None:
        stop.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)  # a second one ends the process at once

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, begin_to_stop)
    await server.run(stop, listener=listener, on_ready=ready)


def find_policy(reference: str, options: LoadOptions) -> Source:
    """The checkpoint that a person named.

    Raises:
        ConfigError: If it is a directory whose configuration is not known.
        CheckpointError: If it is a directory without parameters.
        ArtifactError: If there is no such artifact, it is no policy, or it is damaged.
    """
    from deployments.cli.artifact_arguments import artifact_of_kind, open_store
    from recap_core.errors import CheckpointError, ConfigError
    from recap_core.lineage.artifacts import PolicyCheckpoint

    directory = Path(reference).expanduser()
    if directory.is_dir():
        _check_directory(directory, options)
        return Source(directory.absolute(), directory.absolute().name)
    if directory.is_absolute() or reference.startswith("."):
        raise CheckpointError(f"there is no directory {directory}. Check the path.")
    if options.config is not None:
        raise ConfigError(
            f"--config is for directories; {reference} carries its own configuration."
        )
    store = open_store()
    artifact = artifact_of_kind(store, reference, PolicyCheckpoint, wanted="a policy")
    store.verify(artifact)
    return _of_store(store, artifact, reference if "/" in reference else None)


def load(source: Source, options: LoadOptions) -> "ServedPolicy":
    """The policy of a checkpoint, not compiled yet.

    Raises:
        CheckpointError: If the checkpoint does not fit its configuration.
        ConfigError: If the configuration or the tokenizer is not found.
    """
    from recap_core.config.environment import weights_dir
    from recap_core.serving.host import ServedPolicy
    from recap_core.serving.policy import LoadedPolicy, RequestDefaults

    if source.store is not None:
        from recap_core.training.compilation_cache import enable_compilation_cache

        enable_compilation_cache(source.store.home / "cache" / "xla")
    adv_ind = None if options.adv_ind is AdvInd.omit else options.adv_ind.value
    loaded = LoadedPolicy.load(
        source.directory,
        config=_config(options),
        batch_size=1,
        guidance=options.guidance,
        num_steps=options.num_steps,
        defaults=RequestDefaults(options.default_prompt, adv_ind),
        weights_dir=weights_dir(),
    )
    artifact_id = "" if source.artifact is None else source.artifact.id
    return ServedPolicy(loaded, name=source.name, artifact_id=artifact_id)


def _of_store(store: "Store", artifact: "PolicyCheckpoint", ref: str | None) -> Source:
    name = f"{artifact.name}-{artifact.id[:8]}"
    return Source(store.path(artifact), name, artifact, store, ref)


def _check_directory(directory: Path, options: LoadOptions) -> None:
    from recap_core.errors import CheckpointError, ConfigError

    if not (directory / "params").is_dir():
        steps = sorted(int(path.name) for path in directory.iterdir() if path.name.isdigit())
        hint = f"Name one of its steps: {directory / str(steps[-1])}." if steps else "Check it."
        raise CheckpointError(f"{directory} has no params/, so it is no checkpoint. {hint}")
    if options.config is None and not (directory / "policy.json").is_file():
        raise ConfigError(
            f"{directory} has no policy.json. Name the configuration it was trained with, for "
            "instance --config pi05_libero."
        )


def _config(options: LoadOptions) -> "PolicyConfig | None":
    """The named configuration; None: the directory's own."""
    from recap_core.errors import ConfigError

    if options.config is None:
        if options.asset_id is not None:
            raise ConfigError("--asset-id goes with --config: policy.json names its norm stats.")
        return None
    from recap_core.config.registry import policy_setup

    return policy_setup(options.config, asset_id=options.asset_id).train.policy


def handshake_metadata(config: str | None, file: Path | None) -> dict[str, Any]:
    """What clients are told beside the policy: a named configuration's, then a file's.

    Raises:
        ConfigError: If there is no such configuration, or the file holds no JSON object.
    """
    if config is None:
        return _metadata(file)
    from recap_core.config.registry import policy_setup

    return {**policy_setup(config).metadata, **_metadata(file)}


def _metadata(file: Path | None) -> dict[str, Any]:
    from recap_core.errors import ConfigError

    if file is None:
        return {}
    try:
        found = json_format.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"metadata cannot be read from {file}: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError(f'{file} holds no JSON object, for instance {{"reset_pose": [0, -1.5]}}.')
    return found


def _told(facts: dict[str, Any]) -> str:
    """What is served, for people."""
    policy = facts["policy"]
    cameras = [f"{view} from {name}" for view, name in policy["cameras"].items()]
    prompt, adv_ind = policy["default_prompt"], policy["default_adv_ind"]
    rows = {
        "policy": policy["name"] + (f", follows {facts['follows']}" if facts["follows"] else ""),
        "state": f"{policy['state_dim']} numbers ({', '.join(policy['state'])})",
        "cameras": ", ".join(cameras) or "none",
        "prompt": "of the client" + (f", else {prompt!r}" if prompt else ", always"),
        "adv_ind": f"of the client, else {adv_ind}" if adv_ind else "not in the prompt",
        "actions": f"{policy['action_horizon']} x {policy['action_dim']}, "
        f"{policy['num_denoise_steps']} steps"
        + (f", guidance {policy['guidance']:g}" if policy["guidance"] != 1 else ""),
        "limits": f"{facts['max_message_mb']:g} MiB a message"
        + (", API key needed" if facts["needs_api_key"] else f", {_open_to(facts['url'])}"),
        "record": facts["record"],
        "ready": f"{facts['url']}  (loaded in {facts['load_s']:.1f} s, compiled in "
        f"{facts['compile_s']:.1f} s; Ctrl-C stops)",
    }
    return "".join(f"{name:<9}{text}\n" for name, text in rows.items() if text is not None)


def _open_to(url: str) -> str:
    """Who may ask a server without a key."""
    is_local = url.startswith(("ws://127.", "ws://[::1]"))
    return "no API key" if is_local else "NO API KEY: whoever reaches this address may use it"


def _log_to_stderr() -> None:
    """Swaps, refused requests and the like, with their time."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    log = logging.getLogger("recap_core.serving")
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False
