"""Training scales, biases and norms of a quantized network against the source's logits.

student.py  a network whose weights are made of codes as its layers run
train.py    the loop, and the judgement on rows that were not trained on
"""
