"""The link between the parties: SPU's transport, what it costs, and what they make sure of before a run."""
