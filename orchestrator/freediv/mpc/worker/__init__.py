"""The process that holds a party's SPU runtime, and the party's hold on it."""
