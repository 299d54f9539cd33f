"""Word pieces: tokenizers of known families, read as transformers reads them; texts encoded, single or in pairs."""
