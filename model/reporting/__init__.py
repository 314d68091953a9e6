"""How well a bundle does: measured on a split, and written as JSON, as a model card and as a page."""
