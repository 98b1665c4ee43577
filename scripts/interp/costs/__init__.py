"""What does the work of the labs take, in time and in memory?"""
