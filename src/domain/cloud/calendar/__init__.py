"""The times of scheduled flow runs: clocks, cron expressions, recurrence rules and sets of rules."""
