"""Verbs as a user gives them."""

from twin.cli.main import main


def run(capsys, *words):
    """The exit code of `twin WORDS`, and what it prints on stdout and stderr."""
    code = main([str(word) for word in words])
    out, errors = capsys.readouterr()
    return code, out, errors
