"""Who may act: what the sites themselves hold, the current epoch, and what must be corrected. Pure: no I/O."""
