"""What crosses the network between roles: the protocol, connections, shares in messages."""
