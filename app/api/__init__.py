"""HTTP: parse a request, call serving, shape the answer."""
