"""How close mixtures come to the caps, and that none passes them (docs/theory.md §6.14).

- ``ascent``: the worst mixture in d = 1, by gradient ascent.
- ``lattices``: what the ascent tends to, with errors to the last digit.
- ``search``: every cap against many mixtures, in d = 1..5; ``adversaries`` makes the mixtures,
  ``many`` has the errors of a batch of them.
"""
