"""Twinhull keeps virtual machines in step on two different hypervisors.

The rooms, in the order in which data flows: ``model`` (nouns, rules, errors), ``blocks`` (bytes in motion),
``platforms`` (sites), ``repository`` (restore points), ``replication`` (capture and replica), ``cluster`` (who may
act), ``recovery`` (failover, failback, rollback, restore), ``manager`` (catalog, planner, runs), ``cli``.
"""

__version__ = "0.1.0"
