"""Who may ask, and how much: API keys, their scopes and their limits. Knows no HTTP."""
