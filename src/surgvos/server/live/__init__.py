"""`surgvos live`: watch a stream and prompt it in the browser."""
