"""The plan: labels, times, keys, and what is refused before anything is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import pipeline.plan
from pipeline.errors import EntryPointMissing, LockStale, UnknownTarget
from pipeline.plan import builder_digest, check_runnable, make_plan
from pipeline.platforms import Platform
from pipeline.revision import Revision
from pipeline.settings import Suite
from tests.unit.pipeline.factories import BOTH, EPOCH_S, PYTHON, World, application, wheel


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def keys(world: World, platform: Platform = Platform.AMD64) -> dict[str, str]:
    """Return the key of each layer of the production image."""
    (image,) = world.plan(platforms=(platform,)).images
    return {recipe.kind: recipe.key for recipe in image.layers}


def test_each_layer_stands_on_those_below(world: World) -> None:
    plan = world.plan()
    assert [(image.target, image.platform) for image in plan.images] == [
        ("production", Platform.AMD64),
        ("production", Platform.ARM64),
    ]
    layers = plan.images[0].layers
    assert [layer.kind for layer in layers] == ["base", "dependencies", "application"]
    assert [[lower.kind for lower in layer.below] for layer in layers] == [
        [],
        ["base"],
        ["base", "dependencies"],
    ]


def test_layers_are_listed_once_and_after_those_that_they_need(world: World) -> None:
    plan = world.plan(targets=("production", "base"))
    recipes = plan.recipes()
    listed = [recipe.key for recipe in recipes]
    assert len(set(listed)) == len(listed)
    for recipe in recipes:
        assert all(listed.index(lower.key) < listed.index(recipe.key) for lower in recipe.below)


def test_a_layer_is_summed_up_for_people(world: World) -> None:
    world.wheels = [wheel(f"dep{i}", {f"dep{i}.py": ""}) for i in range(8)]
    world.project = application(requires=())
    summaries = [layer.summary for layer in world.plan().images[0].layers]
    assert summaries == [
        "4 Debian packages",
        "dep0 1.0, dep1 1.0, dep2 1.0, dep3 1.0, dep4 1.0, dep5 1.0 and 2 more wheels",
        "mini 1.0; 2 files or folders of the repository; /app/data",
    ]


def test_a_layer_of_links_says_so(world: World) -> None:
    world.description += '[images.links]\nfrom = "base"\nlinks = { "/bin/x" = "y" }\n'
    lock = world.lock()
    suite = lock.suites["tiny"]
    images = {p: {**i, "links": type(i["base"])()} for p, i in suite.images.items()}
    lock = replace(lock, suites={"tiny": replace(suite, images=images)})
    world.lock = lambda: lock  # type: ignore[method-assign]
    assert world.plan(targets=("links",)).images[0].layers[-1].summary == "links"


# Times and labels


def test_images_are_as_old_as_the_commit_and_files_as_the_lock(world: World) -> None:
    plan = world.plan(revision=Revision("c0ffee", 1_750_000_000))
    assert plan.created_s == 1_750_000_000
    assert {recipe.epoch_s for recipe in plan.recipes()} == {EPOCH_S}


@pytest.mark.parametrize("given", [EPOCH_S - 5, EPOCH_S + 5, 0])
def test_source_date_epoch_wins_and_makes_no_file_younger(world: World, given: int) -> None:
    plan = world.plan(source_date_epoch_s=given, revision=Revision("c0ffee", 1_750_000_000))
    assert plan.created_s == given
    assert {recipe.epoch_s for recipe in plan.recipes()} == {min(given, EPOCH_S)}


def test_without_a_commit_the_lock_says_when(world: World) -> None:
    plan = world.plan()
    assert plan.created_s == EPOCH_S
    assert "org.opencontainers.image.revision" not in plan.annotations["production"]


@pytest.mark.parametrize(("dirty", "expected"), [(False, "c0ffee"), (True, "c0ffee-dirty")])
def test_labels_name_the_commit(world: World, dirty: bool, expected: str) -> None:
    labels = world.plan(revision=Revision("c0ffee", 1, dirty)).annotations["production"]
    assert labels["org.opencontainers.image.revision"] == expected
    assert labels["org.opencontainers.image.created"] == "1970-01-01T00:00:01Z"
    assert list(labels) == sorted(labels)


def test_an_image_s_own_labels_win(world: World) -> None:
    world.description = world.description.replace(
        'description = "What is deployed"',
        'labels = { "org.opencontainers.image.title" = "Own", "a" = "b" }',
    )
    labels = world.plan().annotations["production"]
    assert labels["org.opencontainers.image.title"] == "Own"
    assert labels["a"] == "b"
    assert "org.opencontainers.image.description" not in labels


def test_placeholders_are_filled_in(world: World) -> None:
    configuration = world.plan().images[0].configuration
    assert configuration.health_test[-1] == f"/usr/lib/python{PYTHON}/os.py"
    base = world.plan().images[0].layers[0]
    assert base.exclude == (f"usr/lib/python{PYTHON}/idlelib/**",)
    assert base.links == (("/usr/bin/python3", f"python{PYTHON}"),)


def test_root_is_no_user_of_the_configuration(world: World) -> None:
    assert world.plan(targets=("base",)).images[0].configuration.user == ""


def test_another_suite_has_tags_of_its_own(world: World) -> None:
    plan = world.plan()
    assert plan.tag("production") == "production"
    other = replace(plan, suite=Suite("trixie", "3.13", (2, 41)))
    assert other.tag("production") == "production-trixie"


# Keys


def test_equal_descriptions_have_equal_keys_wherever_they_are(world: World, tmp_path: Path) -> None:
    assert keys(World(tmp_path / "elsewhere")) == keys(world)


def test_a_platform_has_keys_of_its_own(world: World) -> None:
    assert not set(keys(world).values()) & set(keys(world, Platform.ARM64).values())


def edit_file(world: World) -> None:
    (world.root / "conf/settings.ini").write_text("changed")


def edit_description(old: str, new: str) -> Callable[[World], None]:
    def edit(world: World) -> None:
        assert old in world.description
        world.description = world.description.replace(old, new)

    return edit


def new_wheel(world: World) -> None:
    world.wheels = [wheel("dep", {"dep.py": "2"}, version="2.0")]


def new_package(world: World) -> None:
    world.debs[Platform.AMD64].pop()


def new_project(world: World) -> None:
    world.project = application(greeting="bonjour")


ALL = {"base", "dependencies", "application"}
CHANGES: list[tuple[str, Callable[[World], None], set[str]]] = [
    ("a file", edit_file, {"application"}),
    ("a mode", edit_description('mode = "0750"', 'mode = "0755"'), {"application"}),
    ("an owner", edit_description(", owned = true", ""), {"application"}),
    ("the user", edit_description("uid = 1000", "uid = 1001"), {"application"}),
    ("the home", edit_description('home = "/app"', 'home = "/srv"'), {"application"}),
    ("a volume", edit_description('"/app/data"', '"/app/more"'), {"application"}),
    ("the project", new_project, {"application"}),
    ("a wheel", new_wheel, {"dependencies", "application"}),
    ("a package", new_package, {"base", "application"}),
    ("an exclusion", edit_description("idlelib/**", "idle/**"), {"base", "application"}),
    ("a link", edit_description('"/usr/bin/python3"', '"/usr/bin/py"'), {"base", "application"}),
    (
        "bytecode",
        edit_description("[images.base]", "[images.base]\nbytecode = false"),
        {"base", "application"},
    ),
    ("the suite", edit_description("suites.tiny]", "suites.tiny]  # same"), set()),
    ("the environment", edit_description("/usr/local/bin:/usr/bin", "/usr/bin"), set()),
    ("the command", edit_description('["serve"]', '["other"]'), set()),
]


@pytest.mark.parametrize(
    ("change", "expected"), [case[1:] for case in CHANGES], ids=[case[0] for case in CHANGES]
)
def test_a_change_reaches_the_layers_that_it_decides(
    world: World, change: Callable[[World], None], expected: set[str]
) -> None:
    before = keys(world)
    change(world)
    after = keys(world)
    assert {kind for kind in after if after[kind] != before[kind]} == expected


def test_other_times_are_other_layers(world: World) -> None:
    before = {recipe.key for recipe in world.plan().recipes()}
    assert not before & {recipe.key for recipe in world.plan(source_date_epoch_s=1).recipes()}


def test_other_code_makes_other_layers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys(world)
    monkeypatch.setattr(pipeline.plan, "builder_digest", lambda: "another")
    assert set(keys(world)) == ALL
    assert not set(keys(world).values()) & set(before.values())


def test_the_code_that_decides_layers_is_all_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(pipeline.plan.__file__).parent
    seen: set[str] = set()
    read = Path.read_bytes

    def remember(path: Path) -> bytes:
        seen.add(path.relative_to(folder).as_posix())
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", remember)
    builder_digest.__wrapped__()
    assert {"assemble.py", "entries.py", "oci/layer.py", "sources/wheels.py"} <= seen
    assert {"sources/debian/package.py", "sources/debian/postinst.py"} <= seen
    assert {"settings.py", "platforms.py", "plan.py", "build.py"} <= seen
    assert not {"report.py", "fetch.py", "tasks/show.py"} & seen


# Refusals


@pytest.mark.parametrize(
    ("requires", "words"),
    [
        ("absent", ["requires 'absent'", "'production' does not have it"]),
        ("dep>=2", ["requires 'dep>=2'", "has 1.0"]),
        ("DEP<1", ["has 1.0"]),
        ('dep>=2; platform_machine == "aarch64"', ["has 1.0"]),
    ],
)
def test_a_requirement_that_the_image_lacks_is_named(
    world: World, requires: str, words: list[str]
) -> None:
    world.project = application(requires=["dep", requires])
    with pytest.raises(LockStale, match="mini requires") as caught:
        world.plan()
    for word in words:
        assert word in caught.value.message
    assert "invoke lock" in caught.value.hint


@pytest.mark.parametrize(
    "requires",
    [
        "Dep >= 1",
        'absent; extra == "docs"',
        'absent; sys_platform == "win32"',
        'absent; python_version < "3"',
        'absent; platform_machine == "riscv64"',
        'absent; implementation_name == "pypy"',
    ],
)
def test_a_requirement_of_another_place_is_none(world: World, requires: str) -> None:
    world.project = application(requires=[requires])
    world.plan()


def test_a_prerelease_that_is_locked_is_good_enough(world: World) -> None:
    world.wheels = [wheel("dep", {"dep.py": ""}, version="2.0rc1")]
    world.plan()


def test_an_image_without_the_project_does_not_need_its_requirements(world: World) -> None:
    world.project = application(requires=["absent"])
    world.plan(targets=("base",))


def test_an_unknown_target_is_refused(world: World) -> None:
    with pytest.raises(UnknownTarget, match="did you mean 'production'"):
        world.plan(targets=("prodution",))


def test_a_platform_that_is_not_locked_is_refused(world: World) -> None:
    del world.debs[Platform.ARM64]
    with pytest.raises(LockStale, match="'base' for linux/arm64"):
        world.plan()


def test_a_suite_that_is_not_locked_is_refused(world: World) -> None:
    settings = world.settings()
    with pytest.raises(LockStale, match="suite 'trixie'"):
        make_plan(
            settings,
            world.lock(),
            targets=("base",),
            platforms=BOTH,
            suite=Suite("trixie", "3.13", (2, 41)),
            project=None,
            revision=Revision(),
            source_date_epoch_s=None,
            host=None,
        )


def test_an_image_with_nothing_to_run_is_refused(world: World) -> None:
    check_runnable(world.plan())
    world.description = world.description.replace(
        'entrypoint = ["/usr/local/bin/mini"]', "entrypoint = []"
    )
    check_runnable(world.plan())
    world.description = world.description.replace('command = ["serve"]', "command = []")
    with pytest.raises(EntryPointMissing, match="'production'"):
        check_runnable(world.plan())
    check_runnable(world.plan(targets=("base",)))


def test_the_compiler_s_packages_are_those_of_this_machine(world: World) -> None:
    lock = world.lock()
    suite = lock.suites["tiny"]
    packages = (world.debs[Platform.ARM64][3].locked,)
    lock = replace(lock, suites={"tiny": replace(suite, interpreter={Platform.ARM64: packages})})
    for host, expected in ((Platform.ARM64, packages), (Platform.AMD64, ()), (None, ())):
        plan = make_plan(
            world.settings(),
            lock,
            targets=("base",),
            platforms=(Platform.AMD64,),
            suite=world.settings().suite(),
            project=None,
            revision=Revision(),
            source_date_epoch_s=None,
            host=host,
        )
        assert plan.images[0].interpreter == expected
