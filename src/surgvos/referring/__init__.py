"""Where is what a phrase says, and since when is it certain?"""
