"""From questions to consistent, located examples: responses, verdicts, answer spans."""
