"""Functions and modules that have grown too long to be read in one go are split by noun."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DIRECTORIES = ("recap_core", "tasks", "flows", "deployments", "tests")
MAX_FUNCTION_LINES = 60
MAX_MODULE_LINES = 500


def modules() -> Iterator[tuple[str, str]]:
    """Path and source of every module, tests included."""
    for directory in DIRECTORIES:
        for path in sorted((ROOT / directory).rglob("*.py")):
            yield str(path.relative_to(ROOT)), path.read_text()


def test_no_function_is_too_long() -> None:
    """From ``def`` to the last line, docstring included."""
    too_long = [
        f"{path}:{node.lineno} {node.name}: {num_lines} lines"
        for path, source in modules()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (num_lines := (node.end_lineno or node.lineno) - node.lineno + 1) > MAX_FUNCTION_LINES
    ]

    assert not too_long, "\n".join([f"longer than {MAX_FUNCTION_LINES} lines:", *too_long])


def test_no_module_is_too_long() -> None:
    """Tests are read as well."""
    too_long = [
        f"{path}: {num_lines} lines"
        for path, source in modules()
        if (num_lines := len(source.splitlines())) > MAX_MODULE_LINES
    ]

    assert not too_long, "\n".join([f"longer than {MAX_MODULE_LINES} lines:", *too_long])
