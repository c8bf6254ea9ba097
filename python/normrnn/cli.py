"""The command line: ``normrnn demo`` trains on real data, ``normrnn config`` shows the build.

It needs the extra ``demo``. Nothing is imported from it until `main` runs, so that a plain
installation can say what is missing.
"""

import io
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import normrnn as nr

if TYPE_CHECKING:
    import typer

__all__ = ["build_app", "main"]

LARGEST = 1e30  # far below where float32 ends
EXTRA = ("matplotlib", "tqdm", "typer")  # the modules that the extra `demo` brings


class Data(StrEnum):
    """What `normrnn demo` can train on."""

    TEXT = "text"
    SUNSPOTS = "sunspots"


def main() -> None:
    """Run the command line; the entry point of ``normrnn``."""
    try:
        build_app()()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in EXTRA:
            raise
        sys.exit(f'normrnn: {missing} is not installed; install with pip install "normrnn[demo]"')


def build_app() -> "typer.Typer":
    """Make the typer application with its two commands.

    Raises
    ------
    ModuleNotFoundError
        If typer is not installed.
    """
    import typer

    app = typer.Typer(
        help="Recurrent networks held in check by norms.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    @app.command()
    def demo(
        data: Annotated[
            Data,
            typer.Option(
                help="text: a GRU language model of Python's own manual, a minute on two cores. "
                "sunspots: an Elman network forecasts next year's sunspots, a few seconds."
            ),
        ] = Data.TEXT,
        seconds: Annotated[
            float | None,
            typer.Option(
                min=0.1,
                help="Training time of each run, roughly.",
                show_default="25 for text",
            ),
        ] = None,
        steps: Annotated[
            int | None,
            typer.Option(
                min=1,
                help="Training steps of each run, in place of --seconds: every repetition then "
                "gives the same numbers.",
                show_default="6000 for sunspots",
            ),
        ] = None,
        strength: Annotated[
            float | None,
            typer.Option(
                min=0,
                help="λ of the penalised run.",
                show_default="1e-4 for text, 1 for sunspots",
            ),
        ] = None,
        seed: Annotated[int, typer.Option(min=0, help="Seed of the initial weights.")] = 0,
        threads: Annotated[
            int | None,
            typer.Option(min=1, max=1024, help="Threads of the core.", show_default="all cores"),
        ] = None,
        output: Annotated[
            Path | None,
            typer.Option(
                dir_okay=False,
                help="Where the picture goes.",
                show_default="normrnn-demo-DATA.png",
            ),
        ] = None,
    ) -> None:
        """Train twice on real data, without a penalty and with L2, and compare."""
        if seconds is not None and steps is not None:
            raise typer.BadParameter("give --seconds or --steps, not both")
        if strength is not None and not 0 <= strength <= LARGEST:
            raise typer.BadParameter(
                f"--strength: expected a finite number <= {LARGEST:g}, got {strength}"
            )
        output = output or Path(f"normrnn-demo-{data.value}.png")
        if not output.parent.is_dir():  # better now than after a minute of training
            raise typer.BadParameter(f"--output: there is no folder {output.parent}")
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # a terminal may lack the λ
        if threads is not None:
            nr.set_num_threads(threads)
        try:
            from normrnn.demo import sunspots, text

            chosen = text if data is Data.TEXT else sunspots
            chosen.run(output, steps=steps, seconds=seconds, strength=strength, seed=seed)
        except KeyboardInterrupt:
            typer.echo("\nStopped.", err=True)
            raise typer.Exit(130) from None  # what a shell expects after Ctrl-C
        except FloatingPointError as error:  # what `update` raises where training explodes
            what = f"training diverged, try a smaller --strength ({error})"
            typer.echo(f"\nnormrnn: {what}", err=True)
            raise typer.Exit(1) from None

    @app.command()
    def config() -> None:
        """Show version, compiler, instruction sets and threads of this installation."""
        nr.show_config()

    return app


if __name__ == "__main__":
    main()
