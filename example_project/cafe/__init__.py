"""The Corner Café: a small site whose customers log in with a password and a PIN."""
