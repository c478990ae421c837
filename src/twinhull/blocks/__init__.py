"""Bytes in motion: every disk, wherever it is, is something that opens as NBD.

In reading order: ``disk`` (what a disk is to us), ``nbd`` (the real ones), ``memory`` (one for tests and simulation),
``servers`` (qemu-nbd processes that end when we do), ``workers`` (many threads over one stream of pieces, with a handle
on the disk each).
"""
