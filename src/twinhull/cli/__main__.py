"""``python -m twinhull.cli``: the same as ``twinhull``."""

from twinhull.cli.main import main

main()
