"""Programs on the robot, out of the list that its own configuration allows."""

@act(timeout_s=300)
def run(
    program: str, arguments: list[str] = [], *, text: str = "", commit: bool = False, timeout: float | None = None
) -> dict[str, str]:
    """Run an allowed program to its end in the run's folder; gives exit_code, stdout and stderr (64 KB each)."""
