"""The executor: runs the workflows' scripts, one instruction at a time, through whatever crashes."""
