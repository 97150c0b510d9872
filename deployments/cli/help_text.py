"""Docstrings as help: a paragraph flows, wherever its source lines end."""

import inspect

import typer


def let_help_flow(app: typer.Typer) -> None:
    """Join the lines of every command's help that end within a sentence.

    The terminal breaks lines where it is full. Without this, those of the source would be broken
    once more in the middle of a line.
    """
    for command in app.registered_commands:
        text = command.help or inspect.getdoc(command.callback) if command.callback else None
        command.help = text and flowing(text)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            let_help_flow(group.typer_instance)


def flowing(text: str) -> str:
    """``text`` without line breaks inside of sentences; those after a full stop stay."""
    lines: list[str] = []
    for line in text.splitlines():
        if line and lines and lines[-1] and not lines[-1].endswith((".", ":")):
            lines[-1] = f"{lines[-1]} {line}"
        else:
            lines.append(line)
    return "\n".join(lines)
