"""Support for packages that a site may have; each module names its own."""
