"""``python -m twinhull.cli``: the same as ``twinhull``."""

import sys

from twinhull.cli.main import main

sys.exit(main())
