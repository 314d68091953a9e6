"""The runtimes: one a library or device, each behind `app.serving.runtime.Runtime`."""
