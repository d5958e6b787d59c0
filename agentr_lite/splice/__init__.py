"""From trees to revision data: pairs, critic, splice, verification, export."""
