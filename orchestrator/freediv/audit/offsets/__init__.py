"""Learning a network by offsets around its non-linear layers, for whoever can add them."""
