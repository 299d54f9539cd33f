"""Model cards: what was made and measured, and models side by side."""
