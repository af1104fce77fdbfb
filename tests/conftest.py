"""Being here puts this folder on the import path, so that tests can import `helpers`."""

from hypothesis import settings

# A busy machine is no failure, and a failure of yesterday is to be seen again today.
settings.register_profile("surgvos", deadline=None, derandomize=True, database=None)
settings.load_profile("surgvos")
