"""Exit 0 when the service in this container is ready: its image has no curl, and needs none."""

import http.client
import os
import sys

SECONDS = 2.5  # less than the time-out of HEALTHCHECK, so that the reason is seen


def problem(port: int) -> str | None:
    """Why the service on a port of this machine is not ready, or None when it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", "/health/ready")
        response = connection.getresponse()
        body = response.read(2000).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        return f"no answer on port {port}: {error}"
    finally:
        connection.close()
    return None if response.status == 200 else f"{response.status}: {body}"


if __name__ == "__main__":
    sys.exit(problem(int(os.environ.get("TRUNKLINE_PORT", "8000"))))
