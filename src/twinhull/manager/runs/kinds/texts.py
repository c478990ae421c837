"""Labels of facts that several kinds of runs report, in the order in which they are printed."""

from __future__ import annotations

CAPTURED = {
    "point_id": "point",
    "consistency": "consistency",
    "epoch": "epoch",
    "source_read_bytes": "read from the source",
    "changed_bytes": "changed",
    "stored_bytes": "stored",
    "replica_written_bytes": "written to the replica",
}
FREEZE = {"freeze_seconds": "freeze window"}
REMOVED = {"removed_points": "removed points"}
RTO = {"rto_seconds": "RTO reached"}
DIVERGENT = {"divergent_point_id": "kept as a divergent point"}
