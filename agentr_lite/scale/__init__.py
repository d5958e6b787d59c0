"""Workers in other processes and on other machines (Ray); shards, and their merge."""
