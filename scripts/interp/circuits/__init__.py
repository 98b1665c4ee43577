"""What moves the answer?"""
