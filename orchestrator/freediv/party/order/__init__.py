"""Rank 0's part: one order of requests, one link and one model for all parties."""
