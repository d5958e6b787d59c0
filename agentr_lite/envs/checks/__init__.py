"""What ``envs check`` tries: promises of the protocol, the game itself, and its oracle."""
