"""Commands for policies: training, checkpoints in and out, serving."""

from collections.abc import Callable

import typer

from deployments.cli import policy_commands, training_commands
from deployments.cli.configs_commands import configs
from deployments.cli.evaluate_command import evaluate
from deployments.cli.serve_command import serve

PANEL = "Policies"
RELABELED = "demo/sim-aloha/round-1-relabeled"


def add_policy_commands(app: typer.Typer) -> None:
    """Add them to the ``recap`` command, each with an example that can be copied."""

    def add(name: str, function: Callable[..., None], example: str) -> None:
        app.command(name, rich_help_panel=PANEL, epilog=f"Example: recap {name} {example}")(
            function
        )

    demonstrations = "demo/sim-aloha/demonstrations"
    add("sft", training_commands.sft, f"{demonstrations} --start pretrained/pi05/base")
    add("finetune", training_commands.finetune, f"{RELABELED} --start demo/sim-aloha/start")
    add(
        "import-policy",
        policy_commands.import_policy,
        "./checkpoints/pi05_yam/fold/29999 --config pi05_yam_vial_30fps",
    )
    add("export-policy", policy_commands.export_policy, "demo/sim-aloha/current ./checkpoints/mine")
    add("evaluate", evaluate, "round-3-policy --against current --episodes 100 --stop-early")
    add("serve", serve, "demo/sim-aloha/current --port 8111")
    app.add_typer(configs, name="configs", rich_help_panel=PANEL)
