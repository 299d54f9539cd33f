"""Secret shares: under which settings, made, joined, and kept on disk."""
