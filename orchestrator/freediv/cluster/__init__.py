"""Who belongs to a cluster: its topology, configurations, identities, certificates and ports."""
