"""SPU: its programs, its runtime, and its own account of what it sent."""
