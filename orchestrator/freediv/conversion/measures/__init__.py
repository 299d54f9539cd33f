"""What a model is worth: accuracy, agreement, headroom, bounds."""
