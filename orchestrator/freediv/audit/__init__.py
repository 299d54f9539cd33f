"""What could be learnt of a model by asking: attacks from the literature, one a file, tried on a model of the user's.

Each is run, and measured; none of its numbers is written down anywhere. Its file names its source, and says what of it
is reconstructed.
"""
