"""The rules of a login. Only these modules write the session, call ``auth.login`` or send the signals of a login."""
