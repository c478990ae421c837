"""The sites that a manager knows: opened, told apart, looked at, edited, left."""
