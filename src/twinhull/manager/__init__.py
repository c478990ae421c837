"""Always on: catalog, planner and durable runs."""
