"""What a private inference cost: metrics of a party, a table per layer and block, and a page that explains both."""
