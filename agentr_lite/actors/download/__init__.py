"""Downloads from the Hugging Face hub: the suggested models, the fetching, and the deleting."""
