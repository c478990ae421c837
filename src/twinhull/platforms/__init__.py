"""Sites: one small contract, one folder per platform, one conformance kit."""
