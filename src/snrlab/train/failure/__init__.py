"""What goes wrong in a run, as messages for users and reports for developers."""
