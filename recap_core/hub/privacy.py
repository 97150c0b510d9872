"""What an upload says of the place where something was made: nothing.

Manifests name hosts and, after an import, the directory that something lay in; recordings name
operators. Paths become their last name, hosts are left out, people are named only if asked for.
"""

import re
from collections.abc import Mapping
from typing import Any

from recap_core.lineage.manifest import Manifest

_PATH = re.compile(r"(?<![\w./~:-])~?(?:/[\w.@+,=-]+)+/(?P<name>[\w.@+,=-]+)/?")
"""An absolute path of two names or more; addresses and names such as ``observation/state`` are
none."""


def without_paths[T](value: T) -> T:
    """Plain JSON values in which every absolute path is its last name.

    Args:
        value: Text, or mappings and lists that hold some; keys stay.
    """
    plain: Any = value
    if isinstance(plain, str):
        return _PATH.sub(lambda found: found["name"], plain)  # pyright: ignore[reportReturnType] - T is str here
    if isinstance(plain, Mapping):
        return {key: without_paths(each) for key, each in plain.items()}  # pyright: ignore[reportReturnType] - T is a mapping here
    if isinstance(plain, list | tuple):
        return [without_paths(each) for each in plain]  # pyright: ignore[reportReturnType] - T is a list here
    return value


def public_manifest(manifest: Manifest) -> Manifest:
    """The same artifact, without the host and without directories.

    ``id``, ``digest`` and ``stage_key`` stay what they are, so that the artifact can be recognised
    in the store that it came from.
    """
    scrubbed = {
        "host": "",
        "config": without_paths(manifest.config),
        "details": without_paths(manifest.details),
    }
    return manifest.model_copy(update=scrubbed)
