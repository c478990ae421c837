"""What happens on the day: failover, failback, rollback, restore, and putting right what a dead site missed.

Each is an :class:`~twinhull.model.steps.Action` over :class:`~twinhull.actions.context.Context`. What the manager
knows of it is its :class:`~twinhull.manager.runs.kinds.kind.Kind`. It is started with the facts of its request, a
dataclass of :mod:`twinhull.actions.requests` whose fields are the request facts:

===============  ====================  ==============================================================================
word             request               what it does
===============  ====================  ==============================================================================
``sync``         ``SyncRequest``       capture, then bring the replica to the point
``failover``     ``FailoverRequest``   start the machine on the target in place of the source (planned or unplanned)
``failback``     ``FailoverRequest``   the same, homewards: ``source`` is where it runs now, ``target`` is home
``rollback``     ``RollbackRequest``   put a machine back to an earlier point where it is
``restore``      ``RestoreRequest``    bring a point to a new machine, an NBD export or a file
``reconcile``    ``ReconcileRequest``  fence a side that came back with a stale epoch, and stop it where it runs
===============  ====================  ==============================================================================

A request's fields are never changed by results; a wanted point is ``to_point_id`` (``point_id`` of ``restore``).
Result facts of ``failover`` and ``failback``: those of ``sync`` for the last capture (planned), ``epoch``,
``point_id``, ``rpo_seconds`` (what was lost at most; 0 where planned), ``lost_bytes`` (None where it is not known),
``rto_seconds`` (from the stop, or from the demand where unplanned, until the machine runs), ``reasons``.
Of ``rollback``: ``present_point_id`` (what was there before, None where it was not captured), ``point_id``,
``replica_written_bytes``, ``rto_seconds``, ``reasons``. Of ``restore``: ``written_bytes``, ``new_machine_id`` (to a
site), ``reasons``. Of ``reconcile``: ``corrections`` (list of sentences), ``reasons``.

What a run would do, as lines for a question or ``--dry-run``: ``plan_sync``, ``plan_failover``, ``plan_rollback`` and
``plan_restore`` of :mod:`twinhull.recovery.previews`, from a :class:`twinhull.cluster.situation.Situation`
(:func:`twinhull.replication.standing.look`).
``twinhull.actions.points_by_name.resolve_point`` understands ``N``, ``N-2``, ``12`` and whole ids.
"""
