"""What an answer is worth: rewards that can be checked, Python functions of one's own, and their weighted sum.

    rewards = read_rewards(["exact", "0.2*length:10-60"])
    rewards.scores([JudgedAnswer("What is 2+2?", "4", {"answer": "4"})]).totals        # [1.0…]

Preference tuning and reinforcement learn from them, an arena judges by them. Knows no model and no MLX.
"""
