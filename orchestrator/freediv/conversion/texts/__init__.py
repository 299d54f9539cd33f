"""Texts: read from files, cut into word pieces, held out, put into batches."""
