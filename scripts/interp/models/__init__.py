"""Which model, and what does it cost?"""
