"""Pages to look at a fit in a browser, served to this machine only: `popbias explore`.

Starlette and uvicorn are imported with the modules, so that only the command does: an extra installs them.
"""
