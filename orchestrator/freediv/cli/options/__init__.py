"""What options of several commands have in common."""
