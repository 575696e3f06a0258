"""The two motions of meta-learning: steps on one task, and the first-order meta-update.

`reference` is the definition; every other solver takes the same steps, faster, and `choose` says
which one serves.
"""
