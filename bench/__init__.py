"""Benchmarks: every figure is one line: name, value, bar, and ``holds`` or ``falls short``."""
