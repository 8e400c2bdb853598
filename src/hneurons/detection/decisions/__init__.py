"""From scores to decisions: calibrated probabilities, abstention with a guarantee, and an alarm where it is void."""
