"""What is measured of episodes and runs, and how far a figure holds."""
