"""What the neurons tell that cheaper things do not: every rival on the same rows, and what is added to it."""
