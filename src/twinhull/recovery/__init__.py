"""What happens on the day: restore, rollback, failover, failback."""
