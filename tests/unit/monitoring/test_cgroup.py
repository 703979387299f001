from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.cgroup import Cgroup, Cpu, Memory

MIB = 2**20
V1_UNLIMITED = 9223372036854771712
V1_UNLIMITED_64K_PAGES = 9223372036854710272
DOCKER = "/docker/9410b0a255ee5f53eeffd8b5610f36525885c3b858ab1eb504ee4f39fc79d4cc"
POD = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod6c1f.slice"
NO_MEMORY = Memory(usage_bytes=None, limit_bytes=None, ratio=None)
NO_CPU = Cpu(quota_cores=None, usage_s=None, periods=None, throttled_periods=None, throttled_s=None)

V2_MOUNT = (
    "29 22 0:25 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4"
    " - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
)
OTHER_MOUNTS = """\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
23 22 0:21 / /proc rw,nosuid,nodev,noexec,relatime shared:12 - proc proc rw
24 22 0:22 / /sys rw,nosuid,nodev,noexec,relatime shared:2 - sysfs sysfs rw
60 22 0:50 /memory /data\\040of\\011cgroup rw - fuse.cgroup cgroup\\040 rw,memory,cpu
"""


def v1_mount(controllers: str, root: str = "/", at: str = "", optional: str = "") -> str:
    """A line of mountinfo; `controllers` as the super options name them."""
    point = f"/sys/fs/cgroup/{at or controllers}"
    return (
        f"34 31 0:31 {root} {point} ro,nosuid,nodev,noexec,relatime{optional}"
        f" - cgroup cgroup rw,{controllers}\n"
    )


def v1_memory(
    limit: object = V1_UNLIMITED,
    usage: object = 0,
    *,
    inactive_file: object = 0,
    hierarchical: object = V1_UNLIMITED,
) -> dict[str, str]:
    return {
        "memory.limit_in_bytes": f"{limit}\n",
        "memory.usage_in_bytes": f"{usage}\n",
        "memory.soft_limit_in_bytes": "1\n",
        "memory.stat": "cache 9531392\nrss 6922240\ninactive_anon 0\ninactive_file 3\n"
        f"hierarchical_memory_limit {hierarchical}\n"
        f"hierarchical_memsw_limit 5\ntotal_cache 4924809216\ntotal_inactive_anon 7\n"
        f"total_inactive_file {inactive_file}\ntotal_unevictable 14458880\n",
    }


def v1_cpu(
    quota: object = -1, period: object = 100000, *, stat: tuple[int, int, int] = (0, 0, 0)
) -> dict[str, str]:
    return {
        "cpu.cfs_quota_us": f"{quota}\n",
        "cpu.cfs_period_us": f"{period}\n",
        "cpu.shares": "1024\n",
        "cpu.stat": "nr_periods {}\nnr_throttled {}\nthrottled_time {}\n"
        "nr_bursts 0\nburst_time 0\n".format(*stat),
    }


def v2_memory(limit: object = "max", usage: object = 0, inactive_file: int = 0) -> dict[str, str]:
    return {
        "memory.max": f"{limit}\n",
        "memory.high": "1\n",
        "memory.current": f"{usage}\n",
        "memory.stat": f"anon 1024\nfile 2048\ninactive_anon 7\ninactive_file {inactive_file}\n"
        "active_file 5\nworkingset_refault_file 9\n",
    }


def v2_cpu(
    maximum: str = "max 100000", *, usage: int = 0, stat: tuple[int, int, int] = (0, 0, 0)
) -> dict[str, str]:
    return {
        "cpu.max": f"{maximum}\n",
        "cpu.stat": f"usage_usec {usage}\nuser_usec 3\nsystem_usec 4\n"
        "nr_periods {}\nnr_throttled {}\nthrottled_usec {}\nnr_bursts 0\n".format(*stat),
    }


def machine(
    root: Path, membership: str, mountinfo: str, groups: dict[str, dict[str, str]]
) -> Cgroup:
    """The cgroups as found in a tree of files; `groups` by directory below /sys/fs/cgroup."""
    process = root / "proc/self"
    process.mkdir(parents=True)
    (process / "cgroup").write_text(membership, encoding="utf-8")
    (process / "mountinfo").write_text(OTHER_MOUNTS + mountinfo, encoding="utf-8")
    for group, files in groups.items():
        directory = root / "sys/fs/cgroup" / group.lstrip("/")
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (directory / name).write_text(text)
    return Cgroup.find(root)


def v2_machine(root: Path, path: str, groups: dict[str, dict[str, str]]) -> Cgroup:
    return machine(root, f"0::{path}\n", V2_MOUNT, groups)


def test_v1_in_docker_with_the_hosts_namespace(tmp_path: Path) -> None:
    cgroup = machine(
        tmp_path,
        f"9:name=systemd:{DOCKER}\n4:memory:{DOCKER}\n2:cpuacct:{DOCKER}\n1:cpu:{DOCKER}\n"
        f"0::{DOCKER}\n",
        v1_mount("cpu", DOCKER)
        + v1_mount("cpuacct", DOCKER)
        + v1_mount("memory", DOCKER)
        + v1_mount("name=systemd", DOCKER, "systemd"),
        {
            "memory": v1_memory(
                100 * MIB, 50 * MIB, inactive_file=10 * MIB, hierarchical=100 * MIB
            ),
            "cpu": v1_cpu(50000, stat=(120, 30, 2_500_000_000)),
            "cpuacct": {"cpuacct.usage": "18731501205905\n"},
        },
    )
    assert cgroup.memory() == Memory(usage_bytes=40 * MIB, limit_bytes=100 * MIB, ratio=0.4)
    assert cgroup.cpu() == Cpu(
        quota_cores=0.5,
        usage_s=18731.501205905,
        periods=120,
        throttled_periods=30,
        throttled_s=2.5,
    )


def test_v1_in_a_namespace_of_its_own(tmp_path: Path) -> None:
    cgroup = machine(
        tmp_path,
        "4:memory:/\n3:cpu,cpuacct:/\n",
        v1_mount("memory") + v1_mount("cpu,cpuacct"),
        {
            "memory": v1_memory(64 * MIB, 16 * MIB),
            "cpu,cpuacct": {**v1_cpu(150000), "cpuacct.usage": "5000000000\n"},
        },
    )
    assert cgroup.memory() == Memory(usage_bytes=16 * MIB, limit_bytes=64 * MIB, ratio=0.25)
    assert cgroup.cpu() == Cpu(
        quota_cores=1.5, usage_s=5.0, periods=0, throttled_periods=0, throttled_s=0.0
    )


def test_v2_in_a_namespace_of_its_own(tmp_path: Path) -> None:
    cgroup = v2_machine(
        tmp_path,
        "/",
        {
            "/": {
                **v2_memory(512 * MIB, 384 * MIB, inactive_file=128 * MIB),
                **v2_cpu("200000 100000", usage=1_234_567, stat=(1000, 250, 7_250_000)),
            }
        },
    )
    assert cgroup.memory() == Memory(usage_bytes=256 * MIB, limit_bytes=512 * MIB, ratio=0.5)
    assert cgroup.cpu() == Cpu(
        quota_cores=2.0,
        usage_s=1.234567,
        periods=1000,
        throttled_periods=250,
        throttled_s=7.25,
    )


def test_v2_on_a_systemd_host_obeys_a_slice(tmp_path: Path) -> None:
    user = "/user.slice/user-1000.slice"
    cgroup = v2_machine(
        tmp_path,
        f"{user}/session-2.scope",
        {
            f"{user}/session-2.scope": {
                **v2_memory(usage=30 * MIB, inactive_file=10 * MIB),
                **v2_cpu(usage=2_000_000, stat=(1, 2, 3)),
            },
            user: {
                **v2_memory(200 * MIB, 160 * MIB, inactive_file=10 * MIB),
                **v2_cpu("150000 100000", usage=9, stat=(40, 10, 500_000)),
            },
            "/user.slice": {**v2_memory(usage=10**9), **v2_cpu("300000 100000", stat=(4, 5, 6))},
            # The root has nothing but this.
            "/": {"cpu.stat": "usage_usec 99\nuser_usec 3\nsystem_usec 4\n"},
        },
    )
    assert cgroup.memory() == Memory(usage_bytes=20 * MIB, limit_bytes=200 * MIB, ratio=0.75)
    assert cgroup.cpu() == Cpu(
        quota_cores=1.5, usage_s=2.0, periods=40, throttled_periods=10, throttled_s=0.5
    )


def test_v2_root_has_time_and_nothing_else(tmp_path: Path) -> None:
    cgroup = v2_machine(
        tmp_path,
        "/",
        {
            "/": {
                "cpu.stat": "usage_usec 18322556476\nuser_usec 3\nsystem_usec 4\n",
                "memory.stat": "anon 1\ninactive_file 0\n",
            }
        },
    )
    assert cgroup.memory() == NO_MEMORY
    assert cgroup.cpu() == Cpu(
        quota_cores=None,
        usage_s=18322.556476,
        periods=None,
        throttled_periods=None,
        throttled_s=None,
    )


def test_v2_kubernetes_pod_is_filled_by_a_sibling(tmp_path: Path) -> None:
    own = f"{POD}/cri-containerd-4be2.scope"
    cgroup = v2_machine(
        tmp_path,
        own,
        {
            own: {
                **v2_memory(400 * MIB, 100 * MIB),
                **v2_cpu("100000 100000", usage=8_000_000, stat=(90, 9, 900_000)),
            },
            f"{POD}/cri-containerd-0000.scope": v2_memory(1 * MIB, 1 * MIB),
            POD: {
                **v2_memory(500 * MIB, 460 * MIB, inactive_file=10 * MIB),
                **v2_cpu("250000 100000", stat=(100, 1, 1)),
            },
            "/kubepods.slice": {**v2_memory(8000 * MIB, 800 * MIB), **v2_cpu()},
            "/": {"cpu.stat": "usage_usec 99\n"},
        },
    )
    assert cgroup.memory() == Memory(usage_bytes=100 * MIB, limit_bytes=400 * MIB, ratio=0.9)
    assert cgroup.cpu() == Cpu(
        quota_cores=1.0, usage_s=8.0, periods=90, throttled_periods=9, throttled_s=0.9
    )


def test_v2_below_the_part_that_is_mounted(tmp_path: Path) -> None:
    # Host's namespace, the pod bound to /sys/fs/cgroup.
    cgroup = machine(
        tmp_path,
        f"0::{POD}/box/init\n",
        f"30 29 0:26 {POD} /sys/fs/cgroup ro,relatime - cgroup2 cgroup rw\n",
        {
            "box/init": v2_memory(usage=3 * MIB),
            "box": v2_memory(40 * MIB, 4 * MIB),
            "/": v2_memory(50 * MIB, 25 * MIB),
        },
    )
    assert cgroup.memory() == Memory(usage_bytes=3 * MIB, limit_bytes=40 * MIB, ratio=0.5)


def test_hybrid_looks_for_each_controller_where_it_is(tmp_path: Path) -> None:
    cgroup = machine(
        tmp_path,
        "5:memory:/system.slice/a.service\n1:name=systemd:/system.slice/a.service\n"
        "0::/system.slice/a.service\n",
        "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n"
        + v1_mount("memory")
        + v1_mount("xattr,name=systemd", at="systemd"),
        {
            "memory/system.slice/a.service": v1_memory(20 * MIB, 5 * MIB),
            "memory": v1_memory(usage=4000 * MIB),
            "unified/system.slice/a.service": {
                **v2_memory(1, 1),
                **v2_cpu("50000 200000", usage=6_000_000, stat=(7, 6, 5_000_000)),
            },
            "systemd/system.slice/a.service": {**v1_memory(2, 2), **v1_cpu(2)},
        },
    )
    assert cgroup.memory() == Memory(usage_bytes=5 * MIB, limit_bytes=20 * MIB, ratio=0.25)
    assert cgroup.cpu() == Cpu(
        quota_cores=0.25, usage_s=6.0, periods=7, throttled_periods=6, throttled_s=5.0
    )


def test_v2_keeps_the_time_when_v1_does_not(tmp_path: Path) -> None:
    cgroup = machine(
        tmp_path,
        "1:cpu:/a\n0::/b\n",
        v1_mount("cpu") + "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n",
        {
            "cpu/a": v1_cpu(50000, stat=(5, 4, 3_000_000_000)),
            "unified/b": {"cpu.stat": "usage_usec 7000000\n"},
        },
    )
    assert cgroup.cpu() == Cpu(
        quota_cores=0.5, usage_s=7.0, periods=5, throttled_periods=4, throttled_s=3.0
    )


def test_v1_controller_without_a_mount_is_not_sought_in_v2(tmp_path: Path) -> None:
    cgroup = machine(
        tmp_path,
        "5:memory:/\n4:cpu,cpuacct:/\n0::/\n",
        V2_MOUNT,
        {"/": {**v2_memory(9, 3), **v2_cpu("1000 2000", usage=5)}},
    )
    assert cgroup.memory() == NO_MEMORY
    assert cgroup.cpu() == NO_CPU


@pytest.mark.parametrize("listed", ["cpu,cpuacct", "cpuacct,cpu"])
@pytest.mark.parametrize("mounted", ["cpu,cpuacct", "cpuacct,cpu"])
def test_controllers_mounted_together(tmp_path: Path, listed: str, mounted: str) -> None:
    # Systemd adds both names as links.
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    for name in ("cpu", "cpuacct"):
        (tmp_path / "sys/fs/cgroup" / name).symlink_to(mounted)
    cgroup = machine(
        tmp_path,
        f"3:cpuset:/b\n2:{listed}:/a\n",
        v1_mount("cpuset") + v1_mount(mounted),
        {
            f"{mounted}/a": {**v1_cpu(300000), "cpuacct.usage": "250000000\n"},
            "cpuset/b": v1_cpu(100),
            "cpuset/a": v1_cpu(200),
        },
    )
    assert cgroup.memory() == NO_MEMORY
    assert cgroup.cpu() == Cpu(
        quota_cores=3.0, usage_s=0.25, periods=0, throttled_periods=0, throttled_s=0.0
    )


def test_mount_point_that_is_a_link_to_the_controllers(tmp_path: Path) -> None:
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu").symlink_to("cpu,cpuacct")
    cgroup = machine(
        tmp_path,
        "2:cpu,cpuacct:/a\n",
        v1_mount("cpu,cpuacct", at="cpu"),
        {"cpu,cpuacct/a": {**v1_cpu(300000), "cpuacct.usage": "250000000\n"}},
    )
    assert cgroup.cpu().quota_cores == 3.0
    assert cgroup.cpu().usage_s == 0.25


@pytest.mark.parametrize(
    "unlimited", [V1_UNLIMITED, V1_UNLIMITED_64K_PAGES, 2**62, 2**63 - 1, 2**64 - 1, -1, "max"]
)
def test_v1_without_a_limit(tmp_path: Path, unlimited: object) -> None:
    cgroup = machine(
        tmp_path,
        "4:memory:/a\n3:cpu,cpuacct:/a\n",
        v1_mount("memory") + v1_mount("cpu,cpuacct"),
        {
            "memory/a": v1_memory(unlimited, 50, inactive_file=20, hierarchical=unlimited),
            "memory": v1_memory(unlimited, 10**12, hierarchical=unlimited),
            "cpu,cpuacct/a": v1_cpu(stat=(3, 2, 10**9)),
            "cpu,cpuacct": v1_cpu(stat=(9, 9, 9)),
        },
    )
    assert cgroup.memory() == Memory(usage_bytes=30, limit_bytes=None, ratio=None)
    assert cgroup.cpu() == Cpu(
        quota_cores=None, usage_s=None, periods=3, throttled_periods=2, throttled_s=1.0
    )


@pytest.mark.parametrize("unlimited", ["max", 2**62, V1_UNLIMITED, V1_UNLIMITED_64K_PAGES])
def test_v2_without_a_limit(tmp_path: Path, unlimited: object) -> None:
    cgroup = v2_machine(
        tmp_path,
        "/a/b",
        {
            "/a/b": {**v2_memory(unlimited, 50, 20), **v2_cpu(stat=(3, 2, 10**6))},
            "/a": {**v2_memory(unlimited, 10**12), **v2_cpu(stat=(9, 9, 9))},
        },
    )
    assert cgroup.memory() == Memory(usage_bytes=30, limit_bytes=None, ratio=None)
    assert cgroup.cpu() == Cpu(
        quota_cores=None, usage_s=0.0, periods=3, throttled_periods=2, throttled_s=1.0
    )


def test_largest_limit_below_none_is_a_limit(tmp_path: Path) -> None:
    limit = 2**62 - 1
    cgroup = v2_machine(tmp_path, "/", {"/": v2_memory(limit, limit)})
    assert cgroup.memory() == Memory(usage_bytes=limit, limit_bytes=limit, ratio=1.0)


def test_v1_ancestor_is_tighter_than_own(tmp_path: Path) -> None:
    # The pod's level has the least of all, and is neither the first nor the last.
    cgroup = machine(
        tmp_path,
        "4:memory:/kubepods/pod1/box\n2:cpuacct:/kubepods\n1:cpu:/kubepods/pod1/box\n",
        v1_mount("memory") + v1_mount("cpu") + v1_mount("cpuacct"),
        {
            "memory/kubepods/pod1/box": v1_memory(300, 60, inactive_file=20, hierarchical=200),
            "memory/kubepods/pod1": v1_memory(200, 150, inactive_file=30, hierarchical=200),
            "memory/kubepods": v1_memory(1000, 400, hierarchical=1000),
            "memory": v1_memory(usage=9000),
            "cpu/kubepods/pod1/box": v1_cpu(400000, stat=(1, 1, 1)),
            "cpu/kubepods/pod1": v1_cpu(10000, 50000, stat=(50, 25, 1_500_000_000)),
            "cpu/kubepods": v1_cpu(800000, stat=(2, 2, 2)),
            "cpu": v1_cpu(stat=(3, 3, 3)),
            "cpuacct/kubepods": {"cpuacct.usage": "1500000000\n"},
            "cpuacct": {"cpuacct.usage": "9000000000\n"},
        },
    )
    assert cgroup.memory() == Memory(usage_bytes=40, limit_bytes=200, ratio=0.6)
    assert cgroup.cpu() == Cpu(
        quota_cores=0.2, usage_s=1.5, periods=50, throttled_periods=25, throttled_s=1.5
    )


def test_limit_at_the_mount_point_counts(tmp_path: Path) -> None:
    cgroup = v2_machine(
        tmp_path,
        "/init",
        {
            "/init": {**v2_memory(usage=10), **v2_cpu(stat=(1, 1, 1))},
            "/": {**v2_memory(100, 80), **v2_cpu("50000 100000", stat=(8, 4, 2_000_000))},
        },
    )
    assert cgroup.memory() == Memory(usage_bytes=10, limit_bytes=100, ratio=0.8)
    assert cgroup.cpu() == Cpu(
        quota_cores=0.5, usage_s=0.0, periods=8, throttled_periods=4, throttled_s=2.0
    )


def test_equal_quotas_are_counted_at_the_nearest_group(tmp_path: Path) -> None:
    cgroup = v2_machine(
        tmp_path,
        "/a/b",
        {
            "/a/b": v2_cpu("50000 100000", stat=(1, 2, 3_000_000)),
            "/a": v2_cpu("100000 200000", stat=(4, 5, 6_000_000)),
        },
    )
    assert cgroup.cpu() == Cpu(
        quota_cores=0.5, usage_s=0.0, periods=1, throttled_periods=2, throttled_s=3.0
    )


def test_v1_knows_a_limit_of_ancestors_out_of_sight(tmp_path: Path) -> None:
    cgroup = machine(
        tmp_path,
        "4:memory:/\n",
        v1_mount("memory"),
        {"memory": v1_memory(usage=60, inactive_file=10, hierarchical=200)},
    )
    assert cgroup.memory() == Memory(usage_bytes=50, limit_bytes=200, ratio=0.25)


def test_v1_ancestor_in_sight_fills_one_out_of_sight(tmp_path: Path) -> None:
    cgroup = machine(
        tmp_path,
        "4:memory:/box\n",
        v1_mount("memory"),
        {
            "memory/box": v1_memory(usage=10, hierarchical=200),
            "memory": v1_memory(300, 150, hierarchical=200),
        },
    )
    assert cgroup.memory() == Memory(usage_bytes=10, limit_bytes=200, ratio=0.75)


def test_v2_has_no_hierarchical_limit(tmp_path: Path) -> None:
    files = v2_memory(usage=60)
    files["memory.stat"] += "hierarchical_memory_limit 200\n"
    cgroup = v2_machine(tmp_path, "/", {"/": files})
    assert cgroup.memory() == Memory(usage_bytes=60, limit_bytes=None, ratio=None)


@pytest.mark.parametrize(
    ("inactive_file", "usage"), [(0, 100), (99, 1), (100, 100), (101, 100), ("-5", 100), ("", 100)]
)
def test_only_less_cache_than_usage_is_taken_off(
    tmp_path: Path, inactive_file: object, usage: int
) -> None:
    cgroup = machine(
        tmp_path,
        "4:memory:/\n",
        v1_mount("memory"),
        {"memory": v1_memory(200, 100, inactive_file=inactive_file)},
    )
    assert cgroup.memory() == Memory(usage_bytes=usage, limit_bytes=200, ratio=usage / 200)


def test_limit_of_0(tmp_path: Path) -> None:
    cgroup = v2_machine(
        tmp_path,
        "/a/b",
        {"/a/b": v2_memory(0, 10), "/a": v2_memory(40, 20), "/": v2_cpu("0 0")},
    )
    assert cgroup.memory() == Memory(usage_bytes=10, limit_bytes=0, ratio=0.5)
    assert cgroup.cpu().quota_cores is None


@pytest.mark.parametrize(
    ("maximum", "quota_cores"),
    [
        ("max 100000", None),
        ("50000 100000", 0.5),
        ("1000 1000000", 0.001),
        ("6400000 100000", 64.0),
        ("100000 0", None),
        ("0 100000", None),
        ("50000", None),
        ("-1 100000", None),
        ("50000 max", None),
        ("50000 100000 1", None),
    ],
)
def test_v2_quota(tmp_path: Path, maximum: str, quota_cores: float | None) -> None:
    cgroup = v2_machine(tmp_path, "/", {"/": v2_cpu(maximum)})
    assert cgroup.cpu().quota_cores == quota_cores


@pytest.mark.parametrize(
    ("quota", "period", "quota_cores"),
    [
        (-1, 100000, None),
        (50000, 100000, 0.5),
        (20000, 10000, 2.0),
        (0, 100000, None),
        (50000, 0, None),
        (50000, "", None),
        ("max", 100000, None),
    ],
)
def test_v1_quota(tmp_path: Path, quota: object, period: object, quota_cores: float | None) -> None:
    cgroup = machine(tmp_path, "1:cpu:/\n", v1_mount("cpu"), {"cpu": v1_cpu(quota, period)})
    assert cgroup.cpu().quota_cores == quota_cores


def test_values_are_read_at_each_question(tmp_path: Path) -> None:
    cgroup = v2_machine(tmp_path, "/a", {"/a": {**v2_memory(100, 50), **v2_cpu(usage=1_000_000)}})
    assert cgroup.memory() == Memory(usage_bytes=50, limit_bytes=100, ratio=0.5)
    assert cgroup.cpu().usage_s == 1.0
    group = tmp_path / "sys/fs/cgroup/a"
    (group / "memory.current").write_text("80\n")
    (group / "memory.max").write_text("160\n")
    (group / "cpu.stat").write_text("usage_usec 3000000\n")
    assert cgroup.memory() == Memory(usage_bytes=80, limit_bytes=160, ratio=0.5)
    assert cgroup.cpu().usage_s == 3.0


# Mounts: which of them shows the process, and where.


@pytest.mark.parametrize(
    ("mount_root", "path", "group"),
    [
        ("/", "/", "/"),
        ("/", "/a/b", "a/b"),
        ("/a", "/a", "/"),
        ("/a", "/a/b/c", "b/c"),
        ("/a/", "/a/b", "b"),
        # A process that is seen from a namespace below the mount's root.
        ("/..", "/../b", "b"),
        ("/../..", "/../../b/c", "b/c"),
        # A name is compared as a whole.
        ("/a", "/ab", "/"),
        ("/a/b", "/a/bc/d", "/"),
        # Outside of what is mounted.
        ("/a", "/b", "/"),
        ("/a", "/b/c", "/"),
        ("/a", "/", "/"),
        ("/a/b", "/a", "/"),
        ("/..", "/", "/"),
        ("/../..", "/", "/"),
        ("/", "/..", "/"),
        ("/", "/../../a/b", "/"),
        ("/..", "/../../a/b", "/"),
        ("/../..", "/../a", "/"),
        # The host's path in a sandbox that has only the container's own group.
        ("/", "/docker/12ab", "/"),
        # A container's own child happens to have the name of the host's directory.
        ("/", "/a/missing", "/"),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_directory_in_a_mount(
    tmp_path: Path, mount_root: str, path: str, group: str, version: int
) -> None:
    directories = ("a", "a/b", "b", "b/c", "a/a", "a/ab", "ab", "bc", "c", "/")
    files = {
        directory: {**v1_memory(usage=index), **v2_memory(usage=index)}
        for index, directory in enumerate(directories, 1)
    }
    if version == 1:
        membership, kind, options = f"4:memory:{path}\n", "cgroup", "rw,memory"
    else:
        membership, kind, options = f"0::{path}\n", "cgroup2", "rw"
    cgroup = machine(
        tmp_path,
        membership,
        f"30 29 0:26 {mount_root} /sys/fs/cgroup rw - {kind} cgroup {options}\n",
        files,
    )
    assert cgroup.memory().usage_bytes == directories.index(group) + 1


def test_outside_of_the_mount_a_limit_at_its_point_holds(tmp_path: Path) -> None:
    # Docker in Docker: the names of the outer container's groups are not to be seen.
    cgroup = machine(
        tmp_path,
        "0::/../../outer/docker/inner\n",
        V2_MOUNT,
        {"/": {**v2_memory(100, 40), **v2_cpu("50000 100000", usage=10**6, stat=(3, 2, 10**6))}},
    )
    assert cgroup.memory() == Memory(usage_bytes=40, limit_bytes=100, ratio=0.4)
    assert cgroup.cpu() == Cpu(
        quota_cores=0.5, usage_s=1.0, periods=3, throttled_periods=2, throttled_s=1.0
    )


ON_HOST = "50 22 0:26 {} /host/cgroup rw master:9 - cgroup2 cgroup rw\n"
OWN = "51 22 0:26 {} /sys/fs/cgroup rw - cgroup2 cgroup rw\n"


@pytest.mark.parametrize(
    ("mountinfo", "expected"),
    [
        # The mount that shows more ancestors, whatever the order.
        (ON_HOST.format("/") + OWN.format("/a/b"), Memory(7, 50, 0.2)),
        (OWN.format("/a/b") + ON_HOST.format("/"), Memory(7, 50, 0.2)),
        # One that shows the process before one that does not.
        (OWN.format("/a/b") + ON_HOST.format("/x"), Memory(5, 100, 0.05)),
        (ON_HOST.format("/x") + OWN.format("/a/b"), Memory(5, 100, 0.05)),
        # The last of those at one place hides the others.
        (OWN.format("/") + OWN.format("/a/b"), Memory(5, 100, 0.05)),
        (OWN.format("/z") + OWN.format("/a/b"), Memory(5, 100, 0.05)),
        (OWN.format("/x") + ON_HOST.format("/x"), Memory(9, None, None)),
        (ON_HOST.format("/x") + OWN.format("/x"), Memory(5, 100, 0.05)),
    ],
)
def test_several_mounts(tmp_path: Path, mountinfo: str, expected: Memory) -> None:
    cgroup = machine(
        tmp_path,
        "0::/a/b\n",
        mountinfo,
        {
            "/": v2_memory(100, 5),
            "../../../host/cgroup/a/b": v2_memory(100, 7),
            "../../../host/cgroup/a": v2_memory(50, 10),
            "../../../host/cgroup": v2_memory(usage=9),
        },
    )
    assert cgroup.memory() == expected


def test_another_filesystem_is_no_hierarchy(tmp_path: Path) -> None:
    cgroup = machine(
        tmp_path,
        "4:memory:/a\n",
        v1_mount("memory") + v1_mount("memory", at="fuse").replace("- cgroup ", "- fuse.cgroup "),
        {"memory/a": v1_memory(100, 20), "fuse/a": v1_memory(9, 9), "fuse": v1_memory(9, 9)},
    )
    assert cgroup.memory() == Memory(usage_bytes=20, limit_bytes=100, ratio=0.2)


@pytest.mark.parametrize("root", ["/", "/\\000", "/\\777", "/\\400\\08", ""])
@pytest.mark.parametrize("point", ["/\\000", "/\\777", "/\\", "-", ""])
def test_mount_that_no_kernel_shows(tmp_path: Path, root: str, point: str) -> None:
    cgroup = machine(tmp_path, "0::/\n", f"30 29 0:26 {root} {point} rw - cgroup2 cgroup rw\n", {})
    assert cgroup.memory() == NO_MEMORY
    assert cgroup.cpu() == NO_CPU


def test_escapes_and_odd_names(tmp_path: Path) -> None:
    # Of a mount's paths the kernel writes space, tab, line feed and backslash in octal; of
    # the process's path, nothing.
    cgroup = machine(
        tmp_path,
        "1:name=odd:/x\n4:memory:/a b\\c\t/d:e: \\040\r/é\n",
        "34 31 0:31 /a\\040b\\134c\\011 /sys/fs/cgroup/m\\134\\0401\\012n ro"
        " shared:1 master:2 propagate_from:3 unbindable - cgroup odd\\040source rw,memory\n",
        {
            "m\\ 1\nn/d:e: \\040\r/é": v1_memory(usage=3),
            "m\\ 1\nn/d:e: \\040\r": v1_memory(100, 20),
            "m\\ 1\nn": v1_memory(80, 60),
        },
    )
    assert cgroup.memory() == Memory(usage_bytes=3, limit_bytes=80, ratio=0.75)


@pytest.mark.parametrize("optional", ["", " shared:5", " shared:5 master:1 propagate_from:2"])
def test_optional_fields_are_any_number(tmp_path: Path, optional: str) -> None:
    cgroup = machine(
        tmp_path,
        f"4:memory:{DOCKER}\n",
        v1_mount("memory", DOCKER, optional=optional),
        {"memory": v1_memory(100, 20)},
    )
    assert cgroup.memory() == Memory(usage_bytes=20, limit_bytes=100, ratio=0.2)


# Nothing raises.


def test_no_cgroup_at_all(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "missing", tmp_path / "\0"):
        cgroup = Cgroup.find(root)
        assert cgroup.memory() == NO_MEMORY
        assert cgroup.cpu() == NO_CPU


@pytest.mark.parametrize("missing", ["cgroup", "mountinfo"])
def test_half_of_proc_is_not_enough(tmp_path: Path, missing: str) -> None:
    groups = {"/": {**v2_memory(100, 20), **v2_cpu()}}
    v2_machine(tmp_path, "/", groups)
    (tmp_path / "proc/self" / missing).unlink()
    cgroup = Cgroup.find(tmp_path)
    assert cgroup.memory() == NO_MEMORY
    assert cgroup.cpu() == NO_CPU


@pytest.mark.parametrize(
    ("name", "memory", "cpu"),
    [
        ("memory.max", Memory(30, None, None), Cpu(0.5, 4.0, 3, 2, 1.0)),
        ("memory.current", Memory(None, 100, None), Cpu(0.5, 4.0, 3, 2, 1.0)),
        ("memory.stat", Memory(50, 100, 0.5), Cpu(0.5, 4.0, 3, 2, 1.0)),
        ("cpu.max", Memory(30, 100, 0.3), Cpu(None, 4.0, 3, 2, 1.0)),
        ("cpu.stat", Memory(30, 100, 0.3), Cpu(0.5, None, None, None, None)),
    ],
)
@pytest.mark.parametrize(
    "rubbish",
    [
        None,
        b"",
        b"\n",
        b"soon\n",
        b"-7\n",
        b"1_000\n",
        b"+5\n",
        b"0x10\n",
        "٣\n".encode(),
        b"\xff\x00\n",
        b"9" * 5000,
        b"1" * 21,
        b"inactive_file x\nusage_usec 1.5\nnr_periods -1\nnr_throttled\nthrottled_usec  \n",
    ],
)
def test_v2_file_that_is_missing_or_rubbish(
    tmp_path: Path, name: str, rubbish: bytes | None, memory: Memory, cpu: Cpu
) -> None:
    cgroup = v2_machine(
        tmp_path,
        "/",
        {
            "/": {
                **v2_memory(100, 50, inactive_file=20),
                **v2_cpu("50000 100000", usage=4_000_000, stat=(3, 2, 1_000_000)),
            }
        },
    )
    file = tmp_path / "sys/fs/cgroup" / name
    if rubbish is None:
        file.unlink()
    else:
        file.write_bytes(rubbish)
    assert (cgroup.memory(), cgroup.cpu()) == (memory, cpu)


@pytest.mark.parametrize(
    ("name", "memory", "cpu"),
    [
        ("memory.limit_in_bytes", Memory(30, 120, 0.25), Cpu(0.5, 4.0, 3, 2, 1.0)),
        ("memory.usage_in_bytes", Memory(None, 100, None), Cpu(0.5, 4.0, 3, 2, 1.0)),
        ("memory.stat", Memory(50, 100, 0.5), Cpu(0.5, 4.0, 3, 2, 1.0)),
        ("cpu.cfs_quota_us", Memory(30, 100, 0.3), Cpu(None, 4.0, 3, 2, 1.0)),
        ("cpu.cfs_period_us", Memory(30, 100, 0.3), Cpu(None, 4.0, 3, 2, 1.0)),
        ("cpu.stat", Memory(30, 100, 0.3), Cpu(0.5, 4.0, None, None, None)),
        ("cpuacct.usage", Memory(30, 100, 0.3), Cpu(0.5, None, 3, 2, 1.0)),
    ],
)
def test_v1_file_that_is_missing(tmp_path: Path, name: str, memory: Memory, cpu: Cpu) -> None:
    cgroup = machine(
        tmp_path,
        "1:memory,cpu,cpuacct:/\n",
        v1_mount("memory,cpu,cpuacct", at="all"),
        {
            "all": {
                **v1_memory(100, 50, inactive_file=20, hierarchical=120),
                **v1_cpu(50000, stat=(3, 2, 10**9)),
                "cpuacct.usage": "4000000000\n",
            }
        },
    )
    (tmp_path / "sys/fs/cgroup/all" / name).unlink()
    assert (cgroup.memory(), cgroup.cpu()) == (memory, cpu)
    # A directory opens and does not read.
    (tmp_path / "sys/fs/cgroup/all" / name).mkdir()
    assert (cgroup.memory(), cgroup.cpu()) == (memory, cpu)


def test_only_the_whole_key_counts(tmp_path: Path) -> None:
    memory = {**v2_memory(100, 50)}
    memory["memory.stat"] = "x_inactive_file 1\ninactive_file_x 2\ninactive_file 30\n"
    stat = "x_usage_usec 1\nusage_usec_x 2\nusage_usec 3000000\nnr_periods_x 4\nx nr_periods 5\n"
    cgroup = v2_machine(tmp_path, "/", {"/": {**memory, "cpu.stat": stat}})
    assert cgroup.memory() == Memory(usage_bytes=20, limit_bytes=100, ratio=0.2)
    assert cgroup.cpu() == Cpu(None, 3.0, None, None, None)


def test_group_that_is_gone(tmp_path: Path) -> None:
    cgroup = v2_machine(tmp_path, "/a", {"/a": {**v2_memory(100, 20), **v2_cpu("1 1")}})
    assert cgroup.memory() != NO_MEMORY
    (tmp_path / "sys/fs/cgroup/a").rename(tmp_path / "gone")
    assert cgroup.memory() == NO_MEMORY
    assert cgroup.cpu() == NO_CPU


def test_files_are_closed(tmp_path: Path) -> None:
    cgroup = v2_machine(tmp_path, "/", {"/": {**v2_memory(100, 20), **v2_cpu()}})
    (tmp_path / "sys/fs/cgroup/cpu.max").unlink()
    (tmp_path / "sys/fs/cgroup/cpu.max").mkdir()
    lowest = os.dup(0)
    os.close(lowest)
    for _ in range(3):
        cgroup.memory()
        cgroup.cpu()
    after = os.dup(0)
    os.close(after)
    assert after == lowest


WORDS = st.sampled_from(
    (
        b"0::/a\n",
        b"4:memory:/a/../b\n",
        b"3:cpu,cpuacct:/\\000\n",
        b"30 29 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n",
        b"30 29 0:26 /\\000\\777 /sys/fs/cgroup rw - cgroup cgroup rw,memory,cpu\n",
        b"30 29 0:26 / /\\000 rw - cgroup cgroup rw,cpuacct,cpu\n",
        b" - ",
        b"\ninactive_file ",
        b"\nusage_usec ",
        b"max 100000",
        b"18446744073709551616 1\n",
        b"0 ",
        b"\x00",
    )
)
CONTENT = st.one_of(st.none(), st.binary(), st.lists(st.one_of(WORDS, st.binary())).map(b"".join))
FILES = (
    "proc/self/cgroup",
    "proc/self/mountinfo",
    *(
        f"sys/fs/cgroup/{directory}{name}"
        for directory in ("", "a/")
        for name in (*v1_memory(), *v1_cpu(), *v2_memory(), *v2_cpu(), "cpuacct.usage")
    ),
)
SOUND_PROC = {
    "proc/self/cgroup": st.sampled_from((b"0::/a\n", b"4:memory,cpu,cpuacct:/a\n", b"0::/..\n")),
    "proc/self/mountinfo": st.just(
        b"30 29 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n"
        b"30 29 0:26 / /sys/fs/cgroup rw - cgroup cgroup rw,memory,cpu,cpuacct\n"
    ),
}


@given(
    st.one_of(
        st.fixed_dictionaries(dict.fromkeys(FILES, CONTENT)),
        st.fixed_dictionaries({name: SOUND_PROC.get(name, CONTENT) for name in FILES}),
    )
)
def test_no_content_raises(files: dict[str, bytes | None]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        for name, content in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            if content is not None:
                (root / name).write_bytes(content)
        cgroup = Cgroup.find(root)
        memory, cpu = cgroup.memory(), cgroup.cpu()
    for value in (memory.usage_bytes, memory.limit_bytes, memory.ratio):
        assert value is None or value >= 0
    for count in (cpu.quota_cores, cpu.usage_s, cpu.periods, cpu.throttled_s):
        assert count is None or count >= 0


def test_this_machine() -> None:
    cgroup = Cgroup.find()
    memory, cpu = cgroup.memory(), cgroup.cpu()
    assert memory.usage_bytes is None or memory.usage_bytes > 0
    assert cpu.usage_s is None or cpu.usage_s > 0
    assert memory.limit_bytes is None or memory.limit_bytes < 2**62
