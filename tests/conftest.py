"""Being here puts this folder on the import path, so that tests can import `helpers`."""

import signal

from hypothesis import settings

# A busy machine is no failure, and a failure of yesterday is to be seen again today.
settings.register_profile("surgvos", deadline=None, derandomize=True, database=None)
settings.load_profile("surgvos")

# A shell's background jobs ignore Ctrl-C, and hand that on to all that they start: here it is to be tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
