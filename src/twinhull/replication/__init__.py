"""Capture (site to restore point) and replica (restore point to the other site): what happens every few minutes.

The one action here is ``sync``: :data:`twinhull.replication.sync.SYNC` (an :class:`~twinhull.model.steps.Action` over
:class:`~twinhull.actions.context.Context`), started with ``SyncRequest(...).facts()``.

Request facts of ``sync`` (those with a default may be absent):

=====================  ==============================================================================================
``run_id``             plain word (``[a-z0-9-]``, at most 40); labels what is opened on sites
``machine_id``         the machine
``source``             site name
``target``             site name, or None: capture only
``networks``           ``{network on the source: network on the target}``; default ``{}``
``boot_mode``          ``hvm``, ``pv``, ``pvh`` or None: the platform's most faithful one
``is_freezing``        default True
``compare_reason``     why no tracker is trusted this time; default empty: they are
``is_verifying``       hash the whole replica against the point afterwards; default False
=====================  ==============================================================================================

Result facts: ``point_id``, ``captured_at`` (ISO 8601, UTC), ``consistency``, ``epoch``, ``was_full_compare``,
``machine_name``, ``reasons`` (list), ``source_read_bytes``, ``changed_bytes``, ``stored_bytes``,
``replica_written_bytes``, ``replica_read_bytes``, ``freeze_seconds``, ``begin_seconds``, ``read_seconds``,
``publish_seconds``, ``prepare_seconds``, ``apply_seconds``, ``verify_seconds`` (where verified), and what ``retain``
returned.
"""
