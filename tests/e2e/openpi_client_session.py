"""What a robot does with the unmodified ``openpi-client``; run in an environment of its own.

    python openpi_client_session.py PORT OBSERVATIONS.npz SLOW_PORT

At SLOW_PORT nobody is answered before this program has printed a line. Then it prints one JSON
object. Imports nothing of this project.
"""

import functools
import json
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
from openpi_client import (  # pyright: ignore[reportMissingImports] # of another environment
    action_chunk_broker,
    image_tools,
    websocket_client_policy,
)


def observations(path: str) -> Iterator[dict[str, Any]]:
    """As openpi's Aloha robots send them: cameras resized and channels first."""
    with np.load(path) as found:
        for i in range(len(found["state"])):
            images = {}
            for name in ("cam_high", "cam_left_wrist", "cam_right_wrist"):
                image = image_tools.resize_with_pad(found[name][i], 224, 224)
                images[name] = image_tools.convert_to_uint8(image).transpose(2, 0, 1)
            yield {
                "state": found["state"][i],
                "images": images,
                "prompt": "put the vial in the rack",
                "episode_seed": 7,
                "frame_index": i,
            }


def plain(answer: dict[str, Any]) -> dict[str, Any]:
    """Shape, dtype and values of the actions, and the keys around them."""
    actions = answer["actions"]
    return {
        "keys": sorted(answer),
        "timing": sorted(answer["server_timing"]),
        "dtype": actions.dtype.str,
        "actions": actions.tolist(),
    }


def num_waiting(port: int) -> int:
    """Requests that a server works on, or will."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/stats") as response:
        return json.load(response)["queue_length"]


def main() -> None:
    """One session after another."""
    port, slow_port = int(sys.argv[1]), int(sys.argv[3])
    seen = list(observations(sys.argv[2]))
    connect = functools.partial(websocket_client_policy.WebsocketClientPolicy, "127.0.0.1")
    result: dict[str, Any] = {"numpy": np.__version__}

    policy = connect(port)
    result["metadata"] = policy.get_server_metadata()
    result["answers"] = [plain(policy.infer(observation)) for observation in seen]
    broker = action_chunk_broker.ActionChunkBroker(policy, action_horizon=8)
    result["steps"] = [broker.infer(seen[0])["actions"].tolist() for _ in range(9)]

    try:
        policy.infer({"prompt": "no state, no images"})
    except RuntimeError as error:
        result["error"] = str(error)
    result["after_error"] = plain(connect(port).infer(seen[0]))

    several: list[Any] = [None] * 4

    def work(number: int) -> None:
        client = connect(port)
        for _ in range(5):
            several[number] = plain(client.infer(seen[number]))["actions"]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    result["several"] = several

    slow = connect(slow_port)
    answers: list[Any] = []
    caller = threading.Thread(target=lambda: answers.append(plain(slow.infer(seen[0]))))
    caller.start()
    while not num_waiting(slow_port):
        time.sleep(0.02)
    # The client's library gives up on a server that answers no ping for 20 s.
    result["pinged"] = slow._ws.ping().wait(600)
    result["answered_before"] = list(answers)
    sys.stdout.write("it may answer\n")
    sys.stdout.flush()
    caller.join()
    result["answered"] = answers[0]["actions"]
    result["slow_again"] = plain(slow.infer(seen[1]))["actions"]

    try:
        connect(1)
    except ConnectionRefusedError as error:
        result["refused"] = type(error).__name__
    sys.stdout.write(json.dumps(result))


main()
