"""When schedules ask for flow runs: clocks, cron expressions, recurrence rules and sets of rules."""
