"""The inspector's screens, one a file; none imports another."""
