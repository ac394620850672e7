"""All compiled code, and nothing else: plain arrays and scalars in, plain arrays out."""
