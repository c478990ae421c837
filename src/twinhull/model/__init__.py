"""Nouns, rules and errors of Twinhull: plain data, no I/O."""
