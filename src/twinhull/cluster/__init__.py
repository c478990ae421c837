"""Who may act: what the sites themselves hold, the current epoch, and what must be put right. Pure: no I/O."""
