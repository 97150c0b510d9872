"""The Dockerfile, read as Docker would read it; no image is built here."""

import re
import shlex
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deployments" / "docker" / "Dockerfile"
INSTRUCTIONS = {
    "FROM", "ARG", "ENV", "RUN", "COPY", "USER", "WORKDIR", "VOLUME", "CMD",
}  # fmt: skip


def instructions() -> list[tuple[str, str]]:
    """(instruction, the rest of its line), continued lines joined."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [
        (word, rest)
        for word, _, rest in (line.partition(" ") for line in joined.split("\n"))
        if word
    ]


def sources() -> list[str]:
    """What is copied from the checkout."""
    return [
        source
        for word, rest in instructions()
        if word == "COPY" and "--from" not in rest
        for source in shlex.split(rest)[:-1]
    ]


def test_every_line_is_an_instruction_of_docker() -> None:
    """A forgotten continuation would begin with something else."""
    assert {word for word, _ in instructions()} <= INSTRUCTIONS


def test_whatever_is_copied_is_there_and_not_ignored() -> None:
    """Also by .dockerignore, which lets nothing else into the build."""
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = [rule.removeprefix("!") for rule in rules if rule.startswith("!")]
    assert sources()
    for source in sources():
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source, pattern) for pattern in allowed), source


def test_the_image_has_every_package_of_the_wheel() -> None:
    """Packages, job templates and prefect.yaml come with it."""
    text = (ROOT / "pyproject.toml").read_text()
    packages = re.search(r"wheel\]\npackages = \[(.*)\]", text)
    assert packages is not None
    assert set(re.findall(r'"(\w+)"', packages[1])) <= set(sources())


def test_packages_are_locked_and_nobody_is_root() -> None:
    """Hashes are checked, no index is named, and the last USER is a number other than 0."""
    found = instructions()
    installs = [rest for word, rest in found if word == "RUN" and "pip install" in rest]
    assert any("--require-hashes" in rest and "requirements.lock" in rest for rest in installs)
    assert not any("index" in rest for _, rest in found)
    users = [rest for word, rest in found if word == "USER"]
    assert users == ["1000"]
