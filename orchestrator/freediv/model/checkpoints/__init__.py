"""Models on disk and on a hub: read, checked and written; what was measured of them, and for which clusters."""
