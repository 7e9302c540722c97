"""The operators: thin, they resolve connections and arguments, run a step of the journey, and report."""
