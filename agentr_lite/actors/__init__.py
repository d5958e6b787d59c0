"""Language models behind one batched interface."""
