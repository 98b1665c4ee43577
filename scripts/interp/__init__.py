"""What the labs compute. Each folder is a room that answers one question; a room imports only from rooms below it."""
