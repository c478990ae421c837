"""Runs: from what a person wants to durable steps and their record."""
