"""Running the built program from tests: devices, results, files. Standard library only.

The program is DURE_PROGRAM, the sources DURE_SOURCE_DIR; ctest sets both. A test skips itself with `skip`.
"""

import array
import glob
import json
import os
import struct
import subprocess
import sys

SOURCE = os.environ.get("DURE_SOURCE_DIR") or os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAM = os.environ.get("DURE_PROGRAM") or os.path.join(SOURCE, "build", "dure")
SKIPPED = 77  # SKIP_RETURN_CODE in the CMakeLists.txt files

GPT2 = os.path.join(SOURCE, "tests", "golden", "gpt2")

# Driver manifests by the name that tests use for the device.
DRIVERS = {
    "lavapipe": ["/usr/share/vulkan/icd.d/lvp_icd.*.json"],
    "swiftshader": [os.path.join(SOURCE, ".cache", "swiftshader", "icd.json")],
}


def skip(reason):
    print(f"SKIPPED: {reason}")
    sys.exit(SKIPPED)


def driver_manifest(name):
    for pattern in DRIVERS[name]:
        for path in sorted(glob.glob(pattern)):
            return path
    return None


def emulated_plugin():
    """The CUDA backend with its kernels run by the host's cores; the build puts it beside the program."""
    return os.path.join(os.path.dirname(PROGRAM), "libdure_cuda_emulated.so")


def has_device(name):
    if name == "cuda":
        return os.path.isfile(emulated_plugin())
    return name == "reference" or driver_manifest(name) is not None


def require_device(name):
    if not has_device(name):
        skip("the emulation of CUDA needs a C++ compiler" if name == "cuda" else
             f"the driver of {name} is not installed (scripts/install.sh, scripts/fetch_swiftshader.sh)")


def device_arguments(name):
    return ["--device", name if name in ("reference", "cuda") else "vulkan"]


def device_environment(name):
    """The environment in which `--device vulkan` is that driver and no other, and `--device cuda` the emulation."""
    environment = dict(os.environ)
    if name == "cuda":
        environment["DURE_CUDA_PLUGIN"] = emulated_plugin()
    elif name != "reference":
        for variable in ("VK_ADD_DRIVER_FILES", "VK_ICD_FILENAMES", "VK_DRIVER_FILES"):
            environment.pop(variable, None)
        environment["VK_DRIVER_FILES"] = environment["VK_ICD_FILENAMES"] = driver_manifest(name)
    return environment


def command(device, *arguments):
    return [PROGRAM, *map(str, arguments), *device_arguments(device)]


def run(device, *arguments, expect=0, **options):
    """Runs to the end; returns the finished process (text). An unexpected exit status fails the test."""
    line = command(device, *arguments)
    done = subprocess.run(line, env=device_environment(device), stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, errors="replace", **options)
    if expect is not None and done.returncode != expect:
        fail(f"exit status {done.returncode}, expected {expect}, of\n  {' '.join(line)}\n{done.stdout[-2000:]}"
             f"{done.stderr[-4000:]}")
    return done


def fail(message):
    print(f"FAILED: {message}")
    sys.exit(1)


def check(condition, message):
    if not condition:
        fail(message)


def read_json(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def read_json_lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def read_safetensors(path):
    """name -> (dtype, shape, bytes). Raises ValueError for a file that is cut short or contradicts itself."""
    with open(path, "rb") as file:
        content = file.read()
    if len(content) < 8:
        raise ValueError(f"{path}: {len(content)} bytes")
    (header_size,) = struct.unpack_from("<Q", content)
    if header_size > len(content) - 8:
        raise ValueError(f"{path}: header of {header_size} bytes in a file of {len(content)}")
    header = json.loads(content[8:8 + header_size])
    header.pop("__metadata__", None)
    data = memoryview(content)[8 + header_size:]
    tensors, used = {}, 0
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        if not 0 <= begin <= end <= len(data):
            raise ValueError(f"{path}: tensor {name} lies beyond the end of the file")
        used += end - begin
        tensors[name] = (entry["dtype"], entry["shape"], bytes(data[begin:end]))
    if used != len(data):
        raise ValueError(f"{path}: {len(data)} bytes of data, {used} described")
    return tensors


def floats(tensor):
    dtype, shape, content = tensor
    check(dtype == "F32", f"expected an F32 tensor, found {dtype}")
    return shape, array.array("f", content)
