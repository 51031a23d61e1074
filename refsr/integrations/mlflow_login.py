"""The login of this process at an MLflow server, and what to do if the server refuses it."""

UNAUTHENTICATED, DENIED = "UNAUTHENTICATED", "PERMISSION_DENIED"  # MLflow's error codes
_VARIABLES = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"


def user() -> str | None:
    """The name of the login, from MLFLOW_TRACKING_USERNAME or MLflow's file of credentials."""
    from mlflow.utils.credentials import read_mlflow_creds

    name: str | None = read_mlflow_creds().username
    return name


def refusal(error: Exception) -> str | None:
    """One line on a refused login (401) or a missing right (403); None for another error."""
    code = getattr(error, "error_code", "")
    if code == UNAUTHENTICATED:
        name = user()
        refused = f"401, the login of {name} is refused" if name else "401, it asks for a login"
        return f"{refused}; set {_VARIABLES} to those of a user of the server"
    if code == DENIED:
        name = user()
        denied = f"403, {name or 'this login'} may not do this"
        return f"{denied}; log in as a user who may (docs/how-to/cluster.md, Users of MLflow)"
    return None
