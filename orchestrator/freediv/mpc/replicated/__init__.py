"""Products of replicated shares, between the parties: the protocol, and what each party computes alone."""
