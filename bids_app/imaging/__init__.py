"""Arrays and affines: everything between a scanner's file and a network's input."""
