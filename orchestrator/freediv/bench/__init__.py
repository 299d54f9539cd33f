"""What each choice costs, side by side, in one run, through real party processes."""
