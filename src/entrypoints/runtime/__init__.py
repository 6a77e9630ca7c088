"""What a running agent is made of: its loops, who supervises them, its health, its log and how it ends."""
