"""What ``manage.py demo`` is made of: a provider, some people, a server, and one login walked step by step."""
