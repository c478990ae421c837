"""The manager: what is remembered between commands, what is due, and durable runs that do it.

In reading order::

    state.py       the state directory and what lies in it         locks.py      one serve for each state directory
    records.py     plans, sites, runs as plain data                catalog.py    the database of sites and plans
    database.py    the record of runs, SQLite or PostgreSQL        claims.py     who works on what, between processes
    history.py     what was run, read without the engine           document.py   how a run lies in the record
    sites.py       platforms by name, sites opened and shared      vault.py      the repository and its passphrase
    record.py      a run's record while it runs                    engine.py     the durable engine (the only DBOS)
    orders.py      from "failover web1" to a run's request         overview.py   what all sites say right now
    planner.py     what is due, purely                             serve.py      the loop that keeps plans
    keeping.py     the latest point, and retention                 collecting.py space of removed points, as a run
    pruning.py     retention by hand                               removing.py   points removed, as a run
    manager.py     the hand that holds them all

The catalog is a cache of truth: sites hold standings, the repository holds points (``rebuild.py`` reads them back).
"""
