"""What a terminal shows: safe text, tables, progress, the two streams, words for outcomes."""
