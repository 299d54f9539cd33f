"""Private inference with division-free Transformers under secure multi-party computation."""
