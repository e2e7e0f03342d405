"""What votes say: Bradley-Terry strengths with intervals, exact tests for two, and how many more votes would tell.

    standings = rate(votes)
    standings.entries[0].rating, standings.pair("tuned", "base").verdict

numpy alone: knows no model, no store and no screen.
"""
