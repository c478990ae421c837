"""Failover and failback: the machine starts on the other site, and the source gives way."""
