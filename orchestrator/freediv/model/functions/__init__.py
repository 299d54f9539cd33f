"""What a layer may choose from: attention, activations, normalisations; each with its formula, source and constants."""
