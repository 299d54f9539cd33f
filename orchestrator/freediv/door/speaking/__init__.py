"""What clients speak, a kind of client a file: the bodies that they send and the paths that they send them to."""
