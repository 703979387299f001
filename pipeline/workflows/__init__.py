"""GitHub's workflows of this repository: whether they are right, and what they would do."""
