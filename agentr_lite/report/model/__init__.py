"""What a report shows, read from the store into plain data."""
