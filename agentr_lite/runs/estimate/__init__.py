"""How long a run would take: a short probe of model and games, and the stages' costs from it."""
