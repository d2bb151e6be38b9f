"""The subcommands of ``python -m fastsoftmax``, one module each."""
