"""The conformance kit: what every site must do, tried on the site itself."""
