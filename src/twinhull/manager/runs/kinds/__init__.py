"""The kinds of runs: one record, in one file, for each (``kind.py``), and the list of them (``registry.py``)."""
