"""What neurons are to the model: how far tuning moved them, and what they share with other sets and directions."""
