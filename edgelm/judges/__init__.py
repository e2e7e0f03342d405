"""Judges of two answers: a model asked in both orders, a reward, chance. What cannot be read is no verdict.

    judge = read_judge("model:smollm2", load=load, read_rewards=read_rewards)
    [verdict] = judge.compare([AnswerPair(messages, "yes", "no")])

An arena has them vote beside people. Knows no store and no names of contestants.
"""
