"""The truth: what q is, in closed form, with no learning."""
