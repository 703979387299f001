"""The Dockerfiles that the description renders to."""

from __future__ import annotations

from invoke.context import Context

from pipeline.tasks.command import task


@task(
    help={
        "check": "say whether the committed files are current; exits with 23 when they are not",
        "target": "print the Dockerfile with this target instead of writing files",
        "suite": "print the Dockerfile for this Debian release instead of writing files",
    },
)
def dockerfile(
    c: Context, check: bool = False, target: str | None = None, suite: str | None = None
) -> None:
    """Render the Dockerfiles, .dockerignore and the pins of what builds the project."""
    from pipeline import commands
    from pipeline import dockerfile as rendering
    from pipeline.errors import OptionInvalid

    prints = target is not None or suite is not None
    if check and prints:
        raise OptionInvalid(
            "--check looks at the committed files, --target and --suite print another",
            hint="leave one of them out",
        )
    settings, lock = rendering.read_inputs(commands.ROOT)
    if prints:
        file = rendering.dockerfile_of(settings, target or rendering.DEFAULT_TARGET)
        print(rendering.render(settings, lock, settings.suite(suite), file), end="")
    elif check:
        rendering.check_rendered(settings, lock)
        print("the rendered files are current")
    else:
        written = rendering.write_rendered(settings, lock)
        for path in rendering.rendered_files(settings, lock):
            print(f"{path}: {'written' if path in written else 'current'}")
