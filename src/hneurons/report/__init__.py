"""Reports: self-contained HTML with the numbers beside it as JSON."""
