"""A group of commands that says which one was probably meant, whatever the version of click.

Must not know: any verb.
"""

from difflib import get_close_matches

import click

__all__ = ["NamingGroup"]


class NamingGroup(click.Group):
    """A group that answers a misspelt command with the nearest ones."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but what is no command is refused with the names that come near.

        Raises:
            UsageError: There is no such command.
        """
        name = args[0]
        is_option = name.startswith("-")
        if ctx.resilient_parsing or is_option or self.get_command(ctx, name) is not None:
            return super().resolve_command(ctx, args)
        near = get_close_matches(name.lower(), self.list_commands(ctx))
        meant = " or ".join(f"{ctx.command_path} {each}" for each in near)
        said = f"there is no command {name!r:.60}; nothing was done"
        raise click.UsageError(f"{said}. Did you mean: {meant}?" if near else said, ctx)
