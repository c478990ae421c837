"""The record of runs: its database, who claims what, and the history that every other room reads."""
