"""Finding what a phrase says: a text tower, state-space layers over frames, and what joins the two."""
