"""Refusals that each experiment's command owes to the user's mistake."""


def assert_refused(command, arguments, message, tmp_path, capsys):
    """One line that says what is wrong, exit code 2, and nothing written."""
    assert command([*arguments.split(), "--results", str(tmp_path / "new")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "new").exists()
