"""What was published beside what was reached: figures, verdicts and their page."""
