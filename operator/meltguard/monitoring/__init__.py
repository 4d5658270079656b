"""What is drawn and alerted on: queries in one place, from which the dashboard and the alert rules are generated."""
