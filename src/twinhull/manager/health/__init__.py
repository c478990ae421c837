"""How each machine is: one verdict from all that is known, and a look into one machine."""
