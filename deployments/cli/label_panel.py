"""``recap label``: from values to labels, and every question about them."""

from collections.abc import Callable

import typer

from deployments.cli import label_commands, label_exchange_commands, label_study_commands

label = typer.Typer(
    help="Labels: make, compare and explain them; other tools' in and out.", no_args_is_help=True
)


def _add(name: str, function: Callable[..., None], example: str) -> None:
    label.command(name, epilog=f"Example: recap label {name} {example}")(function)


_ROUND = "demo/sim-aloha/round-1-relabeled"
_add("apply", label_commands.apply, f"{_ROUND} --preset sim_demo -s positive_share=0.3")
_add("presets", label_commands.presets, "")
_add("sweep", label_study_commands.sweep, f"{_ROUND} --lookahead 4,8,16 --share 0.1,0.2,0.4")
_add("diff", label_study_commands.diff, "round-1-labels-1a2b3c4d round-2-labels-5e6f7a8b")
_add("explain", label_study_commands.explain, f"{_ROUND} -e 70 -f 21")
_add(
    "import",
    label_exchange_commands.import_,
    "merged-1a2b3c4d ./rlinf-set --format rlinf",
)
_add(
    "export",
    label_exchange_commands.export,
    "labels-1a2b3c4d ./out --format evo_rl --tag r1",
)
