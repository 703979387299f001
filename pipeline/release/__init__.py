"""From a changelog to a release: the version, the commit and its tag, and what is published."""
