"""A recorded run of anybody: its records, how to import them, and the rows they hold."""
