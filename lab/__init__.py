"""The lab: two real hypervisors on one machine, for the tests and the demo."""
