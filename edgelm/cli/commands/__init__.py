"""The commands: a module or a package each, with `EXAMPLES`, `add_arguments(parser)` and `run(arguments)`."""
