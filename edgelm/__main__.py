"""`python -m edgelm` is the `edgelm` command."""

from edgelm.cli.main import run

run()
