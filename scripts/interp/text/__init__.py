"""What does the model read?"""
