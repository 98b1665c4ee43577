"""What does a unit stand for?"""
