"""The provider's user records: linked, registered, synchronised, deleted. No module here knows a request or a login."""
