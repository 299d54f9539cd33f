"""From a topology to folders, processes and containers."""
