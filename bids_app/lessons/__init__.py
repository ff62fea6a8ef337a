"""What is learned from drawn scans."""
