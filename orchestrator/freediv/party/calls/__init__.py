"""What others call at a party: who may, and what is done for owners and for other parties."""
