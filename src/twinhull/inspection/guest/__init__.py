"""Parsers of what guests write. Only the confined child loads them: nothing else imports this package."""
