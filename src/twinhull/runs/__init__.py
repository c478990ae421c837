"""What a run is, for whoever carries one out: the one stepper, what it is told from outside, and errors as data.

No database, no lock and no clock of its own: those are handed in (:class:`twinhull.runs.stepper.Record`).
"""
