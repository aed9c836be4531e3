"""What a run consists of: stages, each declared once, and the plan of their files."""
