"""Tables with the sentences that say what they mean, made from plain data."""
