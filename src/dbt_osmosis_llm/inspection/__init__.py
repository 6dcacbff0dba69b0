"""Says what is known of a project's texts and what a run would do, without asking or writing."""
