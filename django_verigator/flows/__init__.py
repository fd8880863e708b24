"""All rules of a login. Only modules here write the session, call ``auth.login`` or send the signals about a login."""
