"""The outcomes of a study's episodes as one compressed table, from which its pages are made."""
