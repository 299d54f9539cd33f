"""What runs in a container: a party, a model owner, a data owner."""

import os

# gRPC prints what its connections go through; `channels.explain` says it once, in words. Set before grpc is loaded.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
