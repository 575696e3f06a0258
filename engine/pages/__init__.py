"""Reports as HTML pages of one file: no script, no network, nothing that data could steer."""
