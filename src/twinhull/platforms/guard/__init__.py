"""What keeps a machine from starting where it may not: standings on the host, and the hook that reads them."""
