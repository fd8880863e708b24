"""All rules of the second step. Only modules here send our signals, write the session, or call ``auth.login``."""
