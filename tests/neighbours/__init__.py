"""Small sites that have other packages beside this app, each set up as that package's documentation says.

``python -m tests.neighbours --install DIRECTORY`` installs the packages at their newest versions and tries every site.
"""
