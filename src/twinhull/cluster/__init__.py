"""Who may act: epochs, standings and fencing."""
