"""Stages cut at their products: traced, planned, and the segments between."""
