"""The name of the processor, which is part of every record's machine."""

import platform
import time
from pathlib import Path

from cpuinfo import cpuinfo

from runner.machine import processor_name

INTEL = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel\t\t: 85\nmodel name\t: Intel(R) Xeon(R) CPU @ 2.00GHz\nflags\t: a b\n"


def test_the_processor_is_named_as_py_cpuinfo_names_it(tmp_path: Path) -> None:
    """Records from before the kernel was asked are this machine's still."""
    assert processor_name() == cpuinfo._get_cpu_info_from_proc_cpuinfo().get("brand_raw", processor_name())
    (tmp_path / "cpuinfo").write_text(INTEL)
    assert processor_name(tmp_path / "cpuinfo") == "Intel(R) Xeon(R) CPU @ 2.00GHz"


def test_where_nothing_names_the_processor_in_time_its_architecture_does(tmp_path: Path) -> None:
    start = time.monotonic()
    assert processor_name(tmp_path / "none", timeout=0.01) == platform.machine()
    assert time.monotonic() - start < 10
