"""Many runs: the tables and figures of papers, comparisons, what they cost, and workers side by side."""
