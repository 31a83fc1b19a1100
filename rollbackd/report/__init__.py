"""Says what happened: the facts of one incident, and the report made from them.

`facts.py` is pure and has no words; a language is one template. What comes from outside never becomes markup (I11).
"""
