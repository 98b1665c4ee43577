"""Running a model and looking inside."""
