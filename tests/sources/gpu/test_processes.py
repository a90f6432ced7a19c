"""Processes on a GPU: how much each owner has of it, and whose they are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from datadog_checks.base.stubs.tagging import tagger as tagger_stub

from datadog_checks.model_serving.sources.gpu import source
from datadog_checks.model_serving.sources.gpu.processes import Owners

from ...conftest import submissions
from .conftest import Host
from .scenario import expected
from .test_driver import error_of

ID = "8d9c2a7f" * 8
OUTER = "00112233" * 8
POD = "12345678_9abc_def0_1234_56789abcdef0"
HOST = {
    "gpus": [
        {"uuid": "GPU-0", "name": "NVIDIA L4", "calls": {"Temperature": 60}},
    ]
}
TAGS = {"l4": ["gpu:0", "gpu_uuid:GPU-0", "gpu_model:NVIDIA L4", "driver_version:550.54.15"]}


class Proc:
    """A /proc of processes that never were."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, pid: int, name: str, cgroup: str = "0::/user.slice", started: int = 100) -> None:
        """A process of that name, in these cgroups, started at that tick. A name may hold what /proc doesn't quote."""
        folder = self.path / str(pid)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "comm").write_text(f"{name}\n", encoding="utf-8")
        (folder / "cgroup").write_text(f"{cgroup}\n", encoding="utf-8")
        (folder / "stat").write_text(
            f"{pid} ({name}) S 1 {pid} {pid} 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 {started} 1000 200 0\n",
            encoding="utf-8",
        )


@pytest.fixture
def proc(tmp_path: Path, datadog_agent: Any) -> Proc:
    """An empty /proc, which the Agent's configuration names."""
    datadog_agent._config = {"procfs_path": str(tmp_path / "proc")}
    return Proc(tmp_path / "proc")


@pytest.fixture
def tagger(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The Agent's tagger, which knows nothing so far."""
    tagger_stub.reset()
    monkeypatch.setitem(sys.modules, "tagger", tagger_stub)
    yield tagger_stub
    tagger_stub.reset()


def processes(aggregator: Any) -> list[str]:
    """What was submitted of processes."""
    return [line for line in submissions(aggregator) if " gpu.process." in line]


@pytest.mark.parametrize(
    ("cgroup", "container"),
    [
        pytest.param(f"12:memory:/docker/{ID}\n1:name=systemd:/docker/{ID}", ID, id="docker v1"),
        pytest.param(f"0::/system.slice/docker-{ID}.scope", ID, id="docker systemd v2"),
        pytest.param("0::/", "", id="own namespace"),
        pytest.param(f"0::/../{ID}", ID, id="seen from another container"),
        pytest.param(f"11:devices:/kubepods/burstable/pod{POD}/{ID}", ID, id="kubernetes cgroupfs v1"),
        pytest.param(
            f"0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{POD}.slice/cri-containerd-{ID}.scope",
            ID,
            id="containerd systemd",
        ),
        pytest.param(
            f"4:pids:/system.slice/containerd.service/kubepods-burstable-pod{POD}.slice:cri-containerd:{ID}",
            ID,
            id="containerd with colons",
        ),
        pytest.param(f"0::/kubepods.slice/kubepods-pod{POD}.slice/crio-{ID}.scope", ID, id="cri-o"),
        pytest.param(f"0::/kubepods.slice/kubepods-pod{POD}.slice/crio-{ID}.scope/container", ID, id="cri-o below"),
        pytest.param(f"0::/system.slice/docker-{ID}.scope/init.scope/app.service", ID, id="systemd inside"),
        pytest.param(f"0::/machine.slice/libpod-{ID}.scope/container", ID, id="podman"),
        pytest.param(f"9:cpu:/ecs/0123456789abcdef0123456789abcdef/{ID}", ID, id="ecs"),
        pytest.param(f"5:cpu:/docker/{OUTER}/docker/{ID}", ID, id="docker in docker"),
        pytest.param("0::/user.slice/user-1000.slice/session-2.scope", "", id="no container"),
        pytest.param(f"0::/build/{ID}ab", "", id="too long for an id"),
        pytest.param(f"0::/build/{ID[:40]}", "", id="too short for an id"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_container(cgroup: str, container: str, tmp_path: Path) -> None:
    """A container is found in every way that its id is written into a cgroup's path."""
    Proc(tmp_path).add(7, "python", cgroup)
    asked: list[str] = []

    def tags(entity: str) -> list[str]:
        asked.append(entity)
        return ["pod_name:llm-0", "kube_deployment:llm"]

    found = Owners(tmp_path, tags).tags(7)
    assert asked == ([f"container_id://{container}"] if container else [])
    assert found == (
        ("process_name:python", "pod_name:llm-0", "kube_deployment:llm") if container else ("process_name:python",)
    )


def test_unknown_to_the_tagger(tmp_path: Path) -> None:
    """A container that the tagger doesn't know is told by the short form of its id."""
    Proc(tmp_path).add(7, "python", f"0::/docker/{ID}")
    assert Owners(tmp_path, lambda _: []).tags(7) == ("process_name:python", f"container_id:{ID[:12]}")


def test_out_of_sight(tmp_path: Path) -> None:
    """A process that ended, or is of another PID namespace, has an owner without a name."""
    assert Owners(tmp_path, lambda _: ["never:asked"]).tags(7) == ("process_name:unknown",)


def test_pid_used_again(tmp_path: Path) -> None:
    """A PID that another process was given is another owner; one that is still the same is read once."""
    proc = Proc(tmp_path)
    owners = Owners(tmp_path, lambda entity: [entity])
    proc.add(7, "python (3) S", f"0::/docker/{ID}", started=100)
    first = owners.tags(7)
    assert first == ("process_name:python (3) S", f"container_id://{ID}")
    (tmp_path / "7" / "cgroup").write_text("0::/moved", encoding="utf-8")
    assert owners.tags(7) == first
    proc.add(7, "tritonserver", f"0::/docker/{OUTER}", started=900)
    assert owners.tags(7) == ("process_name:tritonserver", f"container_id://{OUTER}")


def test_gone_processes_are_forgotten(host: Host, proc: Proc) -> None:
    """Of processes that left the GPU nothing is kept."""
    host.boot(HOST)
    check = host.check(gpu_processes=True)
    for pid in range(100, 140):
        proc.add(pid, "python")
        host.control("idle 0", f"process 0 {pid} 1000")
        assert error_of(check) == ""
    assert isinstance(check.source, source.GpuSource)
    assert list(check.source.owners._known) == [139]


def test_owners(host: Host, proc: Proc, tagger: Any, aggregator: Any) -> None:
    """Processes of one container are one owner; memory that isn't told is left out, and not zero."""
    host.boot(HOST)
    for pid in (100, 101):
        proc.add(pid, "vllm", f"0::/docker/{ID}")
    proc.add(102, "python")
    tagger.set_tags({f"container_id://{ID}": ["pod_name:llm-0", "kube_namespace:ml"]})
    host.control(
        "process 0 100 4000", "process 0 101 6000", "process 0 102 -", "process 0 103 500",
        "sample 0 100 1000 30", "sample 0 101 1001 45",
    )  # fmt: skip
    assert error_of(host.check(gpu_processes=True)) == ""
    assert processes(aggregator) == expected(
        """
        gauge gpu.process.memory.used 10000 @l4 process_name:vllm pod_name:llm-0 kube_namespace:ml
        gauge gpu.process.running 2 @l4 process_name:vllm pod_name:llm-0 kube_namespace:ml
        gauge gpu.process.utilization 75 @l4 process_name:vllm pod_name:llm-0 kube_namespace:ml
        gauge gpu.process.running 1 @l4 process_name:python
        gauge gpu.process.memory.used 500 @l4 process_name:unknown
        gauge gpu.process.running 1 @l4 process_name:unknown
        """,
        TAGS,
    )
    tagger.assert_called(f"container_id://{ID}", tagger.ORCHESTRATOR)


def test_top_and_the_rest(host: Host, proc: Proc, aggregator: Any) -> None:
    """As many owners as asked for, those with the most memory; all others are one."""
    host.boot(HOST)
    for pid, name in enumerate(("a", "b", "c", "d", "e"), 100):
        proc.add(pid, name)
        host.control(f"process 0 {pid} {pid * 10 if name != 'c' else 9000}", f"sample 0 {pid} {pid} {pid - 90}")
    assert error_of(host.check(gpu_processes=True, gpu_process_limit=2)) == ""
    assert processes(aggregator) == expected(
        """
        gauge gpu.process.memory.used 9000 @l4 process_name:c
        gauge gpu.process.running 1 @l4 process_name:c
        gauge gpu.process.utilization 12 @l4 process_name:c
        gauge gpu.process.memory.used 1040 @l4 process_name:e
        gauge gpu.process.running 1 @l4 process_name:e
        gauge gpu.process.utilization 14 @l4 process_name:e
        # 1000 + 1010 + 1030, 10 % + 11 % + 13 %
        gauge gpu.process.memory.used 3040 @l4 process_name:others
        gauge gpu.process.running 3 @l4 process_name:others
        gauge gpu.process.utilization 34 @l4 process_name:others
        """,
        TAGS,
    )


@pytest.mark.parametrize(("limit", "owners"), [(0, {"others"}), (4, {"a", "b", "c", "d", "others"}), (5, set("abcde"))])
def test_limit(limit: int, owners: set[str], host: Host, proc: Proc, aggregator: Any) -> None:
    """The limit bounds the owners of each GPU, none being the least."""
    host.boot(HOST)
    for pid, name in enumerate("abcde", 100):
        proc.add(pid, name)
        host.control(f"process 0 {pid} {10_000 - pid}")
    assert error_of(host.check(gpu_processes=True, gpu_process_limit=limit)) == ""
    names = {tag for line in processes(aggregator) for tag in line.split() if tag.startswith("process_name:")}
    assert names == {f"process_name:{owner}" for owner in owners}


def test_switched_off(host: Host, proc: Proc, aggregator: Any) -> None:
    """`gpu_processes: false` asks for none."""
    host.boot(HOST)
    host.control("process 0 100 4000", "sample 0 100 1000 30")
    assert error_of(host.check(gpu_processes=False)) == ""
    assert processes(aggregator) == []
    assert host.nvml.calls("nvmlDeviceGetComputeRunningProcesses_v3") == 0


def test_utilization_since_the_last_run(host: Host, proc: Proc, aggregator: Any) -> None:
    """A sample counts in one run; without a new one there is no utilization, nor from what drivers make up."""
    host.boot(HOST)
    proc.add(100, "python")
    host.control("process 0 100 4000", "sample 0 100 1000 30", "sample 0 100 2000 50")
    check = host.check(gpu_processes=True)

    def utilization() -> list[str]:
        aggregator.reset()
        assert error_of(check) == ""
        return [line.split()[2] for line in processes(aggregator) if "gpu.process.utilization" in line]

    assert utilization() == ["40"]
    assert utilization() == []
    host.control("sample 0 100 3000 90", "sample 0 4242 99999999 100", "sample 0 100 88888888 3272356472")
    assert utilization() == ["90"]
    host.control("sample 0 100 4000 10")
    assert utilization() == ["10"]
    assert utilization() == []
    host.control("sample 0 100 5000 100")
    assert utilization() == ["100"]


def test_utilization_of_several_processes(host: Host, proc: Proc, aggregator: Any) -> None:
    """The shares of an owner's processes add up, to no more than the whole GPU."""
    host.boot(HOST)
    for pid in (100, 101):
        proc.add(pid, "python")
        host.control(f"process 0 {pid} 4000", f"sample 0 {pid} 1000 40")
    check = host.check(gpu_processes=True)
    for share in (80, 100):
        aggregator.reset()
        assert error_of(check) == ""
        assert [m.value for m in aggregator.metrics("model_serving.gpu.process.utilization")] == [share]
        host.control("sample 0 100 2000 70", "sample 0 101 2000 70")


def test_idle(host: Host, proc: Proc, aggregator: Any) -> None:
    """A GPU that nobody uses has no owners, and is asked on."""
    host.boot(HOST)
    host.control("idle 0")
    check = host.check(gpu_processes=True)
    assert error_of(check) == ""
    assert processes(aggregator) == []
    proc.add(100, "python")
    host.control("process 0 100 4000")
    assert error_of(check) == ""
    assert len(processes(aggregator)) == 2


def test_old_driver(host: Host, proc: Proc, aggregator: Any) -> None:
    """A driver older than the newest call for processes is asked in the older way, the newer way once."""
    host.boot(HOST)
    proc.add(100, "python")
    host.control("process 0 100 4000", "fail - nvmlDeviceGetComputeRunningProcesses_v3 13")
    check = host.check(gpu_processes=True)
    for _ in range(3):
        aggregator.reset()
        assert error_of(check) == ""
        assert len(processes(aggregator)) == 2
    assert host.nvml.calls("nvmlDeviceGetComputeRunningProcesses_v3") == 1


@pytest.mark.parametrize("parent_tells", ["newer", "older", ""])
def test_mig(parent_tells: str, host: Host, proc: Proc, aggregator: Any) -> None:
    """With MIG an owner is on an instance, whether all may be asked for through the GPU or only by instance."""
    instance = {"uuid": "MIG-1", "name": "NVIDIA L4 MIG 1g.5gb", "instance": 9}
    gpu = {**HOST["gpus"][0], "calls": {"MigMode": [1, 1], "MaxMigDeviceCount": 2}, "mig": {0: instance}}
    host.boot({"gpus": [gpu]})
    proc.add(100, "python")
    if parent_tells:
        host.control("process 0 100 4000 9", "process 0/0 100 4000 9", "sample 0 100 10 10")
        if parent_tells == "older":
            host.control(*(f"fail {where} nvmlDeviceGetComputeRunningProcesses_v3 13" for where in ("0", "0/0")))
    else:
        host.control("fail 0 nvmlDeviceGetComputeRunningProcesses_v3 4", "process 0/0 100 4000 9", "sample 0/0 100 1 1")
        host.control("fail 0 nvmlDeviceGetComputeRunningProcesses_v2 4")
    assert error_of(host.check(gpu_processes=True)) == ""
    own = [] if parent_tells else ["mig_uuid:MIG-1", "mig_profile:1g.5gb"]
    shown = {"mig": [*TAGS["l4"], "mig_instance:9", *own]}
    assert processes(aggregator) == expected(
        """
        gauge gpu.process.memory.used 4000 @mig process_name:python
        gauge gpu.process.running 1 @mig process_name:python
        """,
        shown,
    )


def test_mig_without_an_instance(host: Host, proc: Proc, aggregator: Any) -> None:
    """A process of which the driver does not say which instance it is on has no tag for one."""
    gpu = {**HOST["gpus"][0], "calls": {"MigMode": [1, 1], "MaxMigDeviceCount": 0}}
    host.boot({"gpus": [gpu]})
    proc.add(100, "python")
    host.control("process 0 100 4000")
    assert error_of(host.check(gpu_processes=True)) == ""
    assert processes(aggregator) == expected(
        """
        gauge gpu.process.memory.used 4000 @l4 process_name:python
        gauge gpu.process.running 1 @l4 process_name:python
        """,
        TAGS,
    )


def test_proc_and_tagger_of_the_agent(datadog_agent: Any, monkeypatch: pytest.MonkeyPatch, tagger: Any) -> None:
    """/proc is where the Agent's configuration says, /proc without a word; the tagger is the Agent's, or none."""
    assert source._proc() == Path("/proc")
    datadog_agent._config = {"procfs_path": "/host/proc"}
    assert source._proc() == Path("/host/proc")
    tagger.set_tags({"container_id://x": ["pod_name:y"]})
    assert source._tagger()("container_id://x") == ["pod_name:y"]
    monkeypatch.setitem(sys.modules, "tagger", None)
    assert source._tagger()("container_id://x") == []
