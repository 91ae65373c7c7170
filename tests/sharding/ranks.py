#!/usr/bin/env python3
"""Several ranks train as one would: `ranks.py DEVICE [PART ...]`, all parts by default. Standard library only.

The processes are started as torchrun starts them: RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT in the environment.
"""

import array
import itertools
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "resume"))
import program  # noqa: E402
import run_directory  # noqa: E402

IS_FULL = os.environ.get("DURE_FULL") == "1"
STEPS = 50 if IS_FULL else 6
HALF = STEPS // 2
SHARDINGS = ("none", "optimizer", "gradients", "parameters")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def arguments(out, *more):
    return ["train", "--model", os.path.join(program.GPT2, "even"),
            "--data", os.path.join(program.GPT2, "train", "data"), "--out", out, "--steps", STEPS, "--batch-size", 2,
            "--context", 16, "--accumulate", 3, "--lr", 1e-3, "--warmup", 2, "--seed", 11, "--eval-every", 0,
            "--save-every", HALF, *more]


def machine(number):
    """The words that run a command as on another machine: under another name of it. None where that is not allowed."""
    words = ["unshare", "--user", "--map-root-user", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"',
             f"machine-{number}"]
    try:
        return words if subprocess.run([*words, "true"], capture_output=True).returncode == 0 else None
    except OSError:
        return None


def start(device, ranks, lines, programs=None, folders=None, machines=1):
    """Runs a line a rank; returns the exit statuses and what they said. `programs`: other files than the program's;
    `folders`: to run in."""
    port, processes = free_port(), []
    for rank in range(ranks):
        environment = program.device_environment(device)
        environment.update(RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(ranks),
                           MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        words = program.command(device, *lines[rank])
        if programs is not None:
            words[0] = programs[rank]
        if machines > 1:
            words = [*machine(rank * machines // ranks), *words]
        processes.append(subprocess.Popen(words, env=environment, cwd=folders[rank] if folders else None,
                                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                          text=True, errors="replace"))
    said = [process.communicate(timeout=900)[0] for process in processes]
    return [process.returncode for process in processes], said


def train(device, ranks, out, *more, machines=1):
    if ranks == 1:
        return program.run(device, *arguments(out, *more))
    codes, said = start(device, ranks, [arguments(out, *more)] * ranks, machines=machines)
    program.check(codes == [0] * ranks, f"{ranks} ranks, {more}: ended with {codes}:\n" + "\n".join(said))
    program.check("training on" not in "".join(said[1:]), "another rank than the first speaks")
    return None


def check_losses(found, expected, what, first=1):
    errors = []
    for step in range(first, STEPS + 1):
        tolerance = 1e-5 if step - first < 10 else 1e-3
        program.check(step in found, f"{what}: step {step} is missing")
        errors.append(abs(found[step] - expected[step]) / abs(expected[step]))
        program.check(errors[-1] <= tolerance, f"{what}: the loss of step {step} is {found[step]}, of one rank "
                                               f"{expected[step]}: off by {errors[-1]:.2g}, more than {tolerance}")
    print(f"{what}: off by {max(errors[:10]):.1e} at most in the first ten steps, {max(errors):.1e} in {len(errors)}, "
          f"{errors[-1]:.1e} in the last", flush=True)


def digests(out):
    directory = run_directory.latest(out)
    return {name: run_directory.digest(os.path.join(directory, name)) for name in sorted(os.listdir(directory))
            if name.endswith((".safetensors", ".index.json"))}


def check_every_sharding(device, folder, expected):
    counts = (2, 3, 4) if IS_FULL else (3,)
    for ranks in counts:
        for sharding in SHARDINGS:
            out = os.path.join(folder, f"{sharding}-{ranks}")
            train(device, ranks, out, "--shard", sharding, "--verify-every", HALF)
            check_losses(run_directory.losses(out), expected, f"{ranks} ranks, --shard {sharding}")


def check_same_bits_twice(device, folder):
    ranks = 4 if IS_FULL else 3
    again = os.path.join(folder, "again")
    train(device, ranks, again, "--shard", "gradients", "--verify-every", HALF)
    program.check(digests(again) == digests(os.path.join(folder, f"gradients-{ranks}")),
                  "the same run twice ends with other bits")


def check_uneven_rows(device, folder, expected):
    """The six rows of a step, four to one rank and two to the other: of at most two in a micro-step."""
    out = os.path.join(folder, "uneven")
    train(device, 2, out, "--shard", "gradients", "--rank-share", "2:1")
    check_losses(run_directory.losses(out), expected, "2 ranks with rows 2:1")


def check_resuming(device, folder, expected):
    """Saved by ranks that have parts of everything, read by one and by two; also by three, and by another device."""
    saved = 4 if IS_FULL else 3
    cases = [(1, "none", device), (2, "optimizer", device)]
    if IS_FULL:
        other = "reference" if device != "reference" else "lavapipe"
        cases += [(3, "parameters", device)]
        if program.has_device(other):
            cases += [(2, "gradients", other)]
        else:
            print(f"{other} is not installed: nothing goes on with another device", flush=True)
    for ranks, sharding, reader in cases:
        out = os.path.join(folder, f"moved-{ranks}" + ("" if reader == device else "-elsewhere"))
        train(device, saved, out, "--shard", "parameters", "--stop-after", HALF)
        train(reader, ranks, out, "--shard", sharding, "--resume")
        check_losses(run_directory.losses(out), expected, f"{saved} ranks, then {ranks} on {reader}", first=HALF + 1)


def check_converting(folder, one):
    ranks = 4 if IS_FULL else 3
    parts = run_directory.latest(os.path.join(folder, f"parameters-{ranks}"))
    program.check(not os.path.exists(os.path.join(parts, "model.safetensors")), "a rank had all parameters")
    whole = os.path.join(folder, "whole")
    done = subprocess.run([program.PROGRAM, "convert", parts, whole], capture_output=True, text=True)
    program.check(done.returncode == 0, f"convert: {done.stderr}")
    found = program.read_safetensors(os.path.join(whole, "model.safetensors"))
    expected = program.read_safetensors(os.path.join(run_directory.latest(one), "model.safetensors"))
    program.check(sorted(found) == sorted(expected), "convert left tensors out, or made some up")


def check_damaged_index(device, folder):
    """Parts that overlap, that leave a hole, or that are in another file than their rank's are refused."""
    out = os.path.join(folder, "moved-1")
    shutil.rmtree(os.path.join(out, "checkpoints", f"step-{STEPS:08d}"))
    path = os.path.join(out, "checkpoints", f"step-{HALF:08d}", "optimizer.index.json")
    with open(path, encoding="utf-8") as file:
        good = file.read()
    name = next(name for name, tensor in json.loads(good)["tensors"].items() if len(tensor["parts"]) > 1)
    for damage in ("overlap", "hole", "file"):
        index = json.loads(good)
        parts = index["tensors"][name]["parts"]
        if damage == "overlap":
            parts.append(parts[0])
        elif damage == "hole":
            del parts[0]
        else:
            index["files"][1] = index["files"][0]
        with open(path, "w", encoding="utf-8") as file:
            json.dump(index, file)
        done = program.run(device, *arguments(out, "--resume"), expect=1)
        program.check("is damaged" in done.stderr, f"an index with a damage ({damage}) was taken: {done.stderr}")


def check_skipping(device, folder):
    """Steps with a large gradient norm are left out, the same ones after resuming and with other ranks."""
    more = ("--steps", 30, "--skip-norm", 0.97)
    outs = [os.path.join(folder, f"skipped-{i}") for i in range(3)]
    done = program.run(device, *arguments(outs[0], *more))
    program.check("is left out" in done.stderr, "no step was left out: the test has lost its meaning")
    train(device, 1, outs[1], *more, "--stop-after", 16)
    train(device, 1, outs[1], *more, "--resume")
    train(device, 2, outs[2], *more, "--shard", "gradients")
    run_directory.check_same_end(outs[1], outs[0], "resumed with --skip-norm")
    alone, together = run_directory.losses(outs[0]), run_directory.losses(outs[2])
    program.check(all(abs(together[step] - alone[step]) <= 1e-5 * alone[step] for step in alone),
                  "with two ranks other steps are left out")


def check_naming_bad_values(device, folder):
    """A step that breaks down is looked through on every rank, also where none has whole gradients."""
    for sharding in SHARDINGS[2:] if IS_FULL else SHARDINGS[3:]:
        line = arguments(os.path.join(folder, f"broken-{sharding}"), "--lr", 1000, "--warmup", 0, "--shard", sharding)
        codes, said = start(device, 2, [line] * 2)
        program.check(codes == [1, 1], f"ranks whose loss broke down ended with {codes}:\n" + "\n".join(said))
        for rank in range(2):
            program.check("the first bad value: rank 0 (" in said[rank] and ": op " in said[rank],
                          f"--shard {sharding}: rank {rank} does not name the first bad value:\n{said[rank]}")


def four_heads(folder):
    """The model with four heads, which two and four ranks can share."""
    with open(os.path.join(program.GPT2, "even", "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    config["n_head"] = 4
    path = os.path.join(folder, "four-heads.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(config, file)
    return path


def put_together(directory):
    """The tensors of all ranks' parts (model/checkpoint_parts.h), as floats."""
    with open(os.path.join(directory, "optimizer.index.json"), encoding="utf-8") as file:
        index = json.load(file)
    files = [program.read_safetensors(os.path.join(directory, name)) for name in index["files"]]
    whole = {}
    for name, tensor in index["tensors"].items():
        columns = tensor["shape"][-1] if len(tensor["shape"]) == 2 else 1
        values = [None] * (columns * tensor["shape"][0])
        for file, first, count, *runs in tensor["parts"]:
            runs = runs or [0, columns]
            own = [c for i in range(0, len(runs), 2) for c in range(runs[i], runs[i] + runs[i + 1])]
            found = array.array("f", files[file][f"{name}@{first}"][2])
            for i in range(count):
                at = (first + i) // len(own) * columns + own[(first + i) % len(own)]
                program.check(values[at] is None, f"{name}: element {at} is in two parts")
                values[at] = found[i]
        whole[name] = values
    return whole


def check_gradients(found, one, what):
    """First moments are sums of gradients: those of every parameter agree with one rank's."""
    stored = program.read_safetensors(os.path.join(run_directory.latest(one), "optimizer.safetensors"))
    parts = put_together(run_directory.latest(found))
    for name, (_, _, content) in stored.items():
        if not name.endswith(".first_moment"):
            continue
        expected = array.array("f", content)
        error = max(abs(a - b) for a, b in zip(parts[name], expected))
        scale = max(abs(b) for b in expected)
        program.check(len(parts[name]) == len(expected) and error <= 1e-4 * scale,
                      f"{what}: {name} is off by {error:.2g} of {scale:.2g}")


def check_parts_of_matrices_and_sequences(device, folder):
    """Ranks that share matrices or sequences; what they save goes on with others that share otherwise."""
    model = ("--model", four_heads(folder))
    one = os.path.join(folder, "four-heads")
    train(device, 1, one, *model)
    expected = run_directory.losses(one)
    matrices, sequences = ("--tensor-parallel", 2), ("--tensor-parallel", 1, "--sequence-parallel", 2)
    out = os.path.join(folder, "matrices-then-sequences")
    train(device, 2, out, *model, *matrices, "--stop-after", HALF)
    train(device, 2, out, *model, *sequences, "--resume")
    check_losses(run_directory.losses(out), expected, "matrices, then sequences among two ranks")
    check_gradients(out, one, "matrices, then sequences among two ranks")
    if not IS_FULL:
        return
    cases = [(2, matrices), (2, sequences), (4, ("--tensor-parallel", 4)), (4, ("--sequence-parallel", 4)),
             (4, (*matrices, "--sequence-parallel", 2)), (4, (*matrices, "--recompute", "block"))]
    cases += [(4, (*more, "--shard", sharding)) for more in (matrices, sequences) for sharding in SHARDINGS]
    for number, (ranks, more) in enumerate(cases):
        out = os.path.join(folder, f"shared-{number}")
        train(device, ranks, out, *model, *more, "--verify-every", HALF)
        check_losses(run_directory.losses(out), expected, f"{ranks} ranks, {more}")
        check_gradients(out, one, f"{ranks} ranks, {more}")
    again = os.path.join(folder, "shared-again")
    train(device, 4, again, *model, *cases[4][1], "--verify-every", HALF)
    program.check(digests(again) == digests(os.path.join(folder, "shared-4")), "the same run twice ends with other bits")


# Who shares what: ranks, machines, options.
SHARES = [(2, 1, ("--shard", sharding)) for sharding in SHARDINGS]
SHARES += [(4, 2, ("--shard", "parameters", "--shard-within", "node")), (2, 1, ("--tensor-parallel", 2)),
           (2, 1, ("--sequence-parallel", 2)), (4, 1, ("--tensor-parallel", 2, "--sequence-parallel", 2)),
           (4, 1, ("--tensor-parallel", 2, "--shard", "gradients")),
           (4, 1, ("--sequence-parallel", 2, "--shard", "parameters")),
           (8, 2, ("--tensor-parallel", 2, "--shard", "optimizer", "--shard-within", "node"))]
TYPES = [("--dtype", "f32"), ("--dtype", "bf16"), ("--dtype", "bf16", "--masters", "off"), ("--dtype", "f16"),
         ("--dtype", "f16", "--masters", "off")]
STATES = [("--optimizer-states", states) for states in ("f32", "bf16", "8bit")]
RECOMPUTED = [("--recompute", what) for what in ("none", "activations", "block")]
OFFLOADED = [("--offload", what) for what in ("none", "optimizer")]
EPSILONS = {"f32": 1e-5, "bf16": 2 ** -8 / 128 ** 0.5, "f16": 2 ** -11 / 128 ** 0.5}  # of a step of 128 tokens
DRAWN = 2


def draw_combinations():
    """A few of all combinations, the same ones every time; in full so many that every two choices meet."""
    every = list(itertools.product(SHARES, TYPES, STATES, RECOMPUTED, OFFLOADED))
    random.Random(8).shuffle(every)
    if not IS_FULL:
        return every[:DRAWN]
    met, chosen = set(), []
    for case in every:
        pairs = set(itertools.combinations(enumerate(case), 2))
        if not pairs <= met:
            met |= pairs
            chosen.append(case)
    return chosen


def compare_combination(found, expected, more, what):
    worst = 0
    for step, loss in expected.items():
        error = abs(found[step] - loss) / loss
        tolerance = EPSILONS[more[1]] + ("8bit" in more) * abs(loss - expected[1]) / loss / 16
        program.check(error <= tolerance, f"{what}: the loss of step {step} is {found[step]}, of one rank {loss}: off by "
                                          f"{error:.2g}, more than {tolerance:.2g}")
        worst = max(worst, error)
    return worst


def check_combinations(device, folder):
    """Everything goes with everything: ranks that share in any way train in any type, recomputing or offloading what
    they are asked to, as one rank does, and what they save goes on with one rank. Losses may be off by roundings of
    activations, of which they are means, and by a sixteenth of what updates change where blocks of 8 bits begin
    elsewhere."""
    model = ("--model", four_heads(folder), "--warmup", 0, "--accumulate", 4, "--save-every", 0)
    alone = {}
    for number, (share, *rest) in enumerate(draw_combinations()):
        ranks, machines, options = share
        if machines > 1 and machine(0) is None:
            machines = 1
        more = [word for words in rest for word in words]
        key = tuple(more)
        if key not in alone:
            out = os.path.join(folder, f"combination-{number}-alone")
            train(device, 1, out, *model, *more, "--steps", 4)
            alone[key] = run_directory.losses(out)
        out = os.path.join(folder, f"combination-{number}")
        train(device, ranks, out, *model, *more, *options, "--steps", 4, "--stop-after", 3, "--verify-every", 1,
              "--repeat-every", 3, machines=machines)
        train(device, 1, out, *model, *more, "--steps", 4, "--shard", "none", "--tensor-parallel", 1,
              "--sequence-parallel", 1, "--resume")
        expected = alone[key]
        worst = compare_combination(run_directory.losses(out), expected, more, f"{ranks} ranks, {options}, {more}")
        print(f"{ranks} ranks on {machines} machines, {options}, {' '.join(more)}: off by {worst:.1e}", flush=True)
        if "8bit" not in more or (number > 0 and not IS_FULL):
            continue
        out = os.path.join(folder, f"combination-{number}-back")  # codes of one rank's blocks become several ranks'
        train(device, 1, out, *model, *more, "--steps", 4, "--stop-after", 3)
        train(device, ranks, out, *model, *more, *options, "--steps", 4, "--resume", machines=machines)
        compare_combination(run_directory.losses(out), expected, more, f"one rank, then {ranks}, {options}, {more}")


def mixture(folder, name):
    """The config of a mixture of experts, with a vocabulary for the data."""
    with open(os.path.join(program.SOURCE, "tests", "golden", "families", name, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    config["vocab_size"] = 272
    path = os.path.join(folder, f"{name}.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(config, file)
    return path


def check_experts(device, folder):
    """Ranks that have parts of every expert, behind routers that all have whole; and of latent attention. What balances experts is a product of
    means over the rows of a rank's micro-step: it is another one where ranks divide rows."""
    unbalanced = ("--balance-experts", "off")
    tensors, sequences = ("--tensor-parallel", 2), ("--sequence-parallel", 2)
    cases = [("qwen2_moe", 2, tensors)]
    if IS_FULL:
        cases += [("mixtral_balanced", 2, tensors), ("deepseek_v2", 2, tensors), ("deepseek_v3", 2, tensors),
                  ("deepseek_v2_lite", 2, (*sequences, *unbalanced)),
                  ("mixtral", 4, (*tensors, "--shard", "parameters", "--recompute", "block", *unbalanced)),
                  ("deepseek_v2", 4, (*tensors, *sequences, "--recompute", "block", *unbalanced))]
    for number, (name, ranks, options) in enumerate(cases):
        model = ("--model", mixture(folder, name))
        balance = unbalanced if unbalanced[0] in options else ()
        one = os.path.join(folder, f"experts-{number}-alone")
        train(device, 1, one, *model, *balance)
        out = os.path.join(folder, f"experts-{number}")
        train(device, ranks, out, *model, *options, "--verify-every", HALF)
        check_losses(run_directory.losses(out), run_directory.losses(one), f"{name}, {ranks} ranks, {options}")
        check_gradients(out, one, f"{name}, {ranks} ranks, {options}")


def check_refused_parts(device, folder):
    out = os.path.join(folder, "refused-parts")
    for more, reason in ((("--tensor-parallel", 2), "3 heads"), (("--sequence-parallel", 2), "3 heads"),
                         (("--tensor-parallel", 3), "a multiple of 3 ranks")):
        codes, said = start(device, 2, [arguments(out, *more)] * 2)
        program.check(0 not in codes and reason in "".join(said), f"{more} was taken by two ranks:\n" + "\n".join(said))


def start_under_mpi(device, lines, folders):
    """The same under mpirun: its exit status, and what all said."""
    words = ["mpirun", "--oversubscribe", "--bind-to", "none"]
    for i, line in enumerate(lines):
        words += [":"] if i > 0 else []
        words += ["-n", "1", "-wdir", folders[i], *map(str, program.command(device, *line))]
    environment = program.device_environment(device)
    environment.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    done = subprocess.run(words, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          errors="replace", timeout=300)
    return done.returncode, done.stdout + done.stderr


def other_files(folder):
    """Data and a model under the same names as everybody's, but with other contents: (data, model) to be moved in."""
    for name, source in (("data", os.path.join(program.GPT2, "train", "data")),
                         ("model", os.path.join(program.GPT2, "even"))):
        for whose in ("ours", "theirs"):
            shutil.copytree(source, os.path.join(folder, "files", whose, name))
    data = os.path.join(folder, "files", "theirs", "data", "dataset.json")
    with open(data, encoding="utf-8") as file:
        text = file.read()
    with open(data, "w", encoding="utf-8") as file:
        file.write(text + "\n")
    with open(os.path.join(folder, "files", "theirs", "model", "model.safetensors"), "r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\0\0\0\0")
    return os.path.join(folder, "files")


def check_refusals(device, folder):
    """Ranks that differ are refused before any work, by name and difference: started one by one, and under mpirun."""
    out = os.path.join(folder, "refused")
    files = other_files(folder)
    ours, theirs = (os.path.join(files, whose) for whose in ("ours", "theirs"))
    mixed = os.path.join(files, "mixed")  # their model, our data
    shutil.copytree(theirs, mixed)
    shutil.copytree(os.path.join(ours, "data"), os.path.join(mixed, "data"), dirs_exist_ok=True)
    same = arguments(out, "--lr", 1e-3, "--data", "data", "--model", "model")
    cases = [("lr", [same, [*same, "--lr", 2e-3]], [ours, ours], '"lr"'),
             ("the data", [same] * 2, [ours, theirs], "the data's hash"),
             ("the model", [same] * 2, [ours, mixed], "the model's hash")]
    has_mpi = shutil.which("mpirun") and os.path.exists(os.path.join(os.path.dirname(program.PROGRAM), "libdure_mpi.so"))
    for what, lines, folders, expected in cases:
        codes, said = start(device, 2, lines, None, folders)
        program.check(0 not in codes, f"ranks that differ in {what} trained together")
        for text in said:
            program.check("the ranks disagree: rank 1 (" in text and expected in text,
                          f"{what}: the difference is not named:\n" + text)
        if has_mpi and (IS_FULL or what == "lr"):
            code, text = start_under_mpi(device, lines, folders)
            program.check(code != 0 and "the ranks disagree: rank 1 (" in text and expected in text,
                          f"{what}, under mpirun: the difference is not named:\n" + text)
    codes, said = start(device, 2, [arguments(out, "--shard", "everything")] * 2)
    program.check(0 not in codes and "--shard" in "".join(said), "an unknown --shard was taken")
    program.check(not os.path.exists(os.path.join(out, "checkpoints")), "work was begun by ranks that differ")


def check_other_build(device, folder):
    """A program of the same version from other sources: here the same with a byte behind it."""
    other = os.path.join(folder, "other")
    shutil.copy(program.PROGRAM, other)
    with open(other, "ab") as file:
        file.write(b"x")
    out = os.path.join(folder, "builds")
    codes, said = start(device, 2, [arguments(out)] * 2, [program.PROGRAM, other])
    program.check(0 not in codes and all("rank 1 (" in text and "runs 'dure " in text for text in said),
                  "ranks of two builds were not refused by name:\n" + "\n".join(said))


def check_shardings(device, folder, expected):
    check_every_sharding(device, folder, expected)
    check_same_bits_twice(device, folder)
    check_converting(folder, os.path.join(folder, "one"))


def check_resumed(device, folder, expected):
    check_resuming(device, folder, expected)
    check_damaged_index(device, folder)


def check_all_refusals(device, folder, expected):
    check_refusals(device, folder)
    check_other_build(device, folder)
    check_refused_parts(device, folder)


def check_shared(device, folder, expected):
    check_parts_of_matrices_and_sequences(device, folder)


def check_with_devices(device, folder, expected):
    """What devices must show that do not run on the reference: there all that is slow is looked at."""
    out = os.path.join(folder, "parameters-2")
    train(device, 2, out, "--shard", "parameters")
    check_losses(run_directory.losses(out), expected, "2 ranks, --shard parameters")


PARTS = {
    "shared": check_shared,
    "shardings": check_shardings,
    "uneven": check_uneven_rows,
    "resuming": check_resumed,
    "skipping": lambda device, folder, expected: check_skipping(device, folder),
    "bad-values": lambda device, folder, expected: check_naming_bad_values(device, folder),
    "refusals": check_all_refusals,
    "experts": lambda device, folder, expected: check_experts(device, folder),
    "combinations": lambda device, folder, expected: check_combinations(device, folder),
    "devices": check_with_devices,
}


def choose_parts(device, names):
    if names:
        return names
    if IS_FULL:
        return [name for name in PARTS if name != "devices"]
    if device != "reference":
        return ["devices", "shared"]
    return [name for name in PARTS if name not in ("devices", "shared")]


def main():
    device = sys.argv[1]
    program.require_device(device)
    for name in sys.argv[2:]:
        program.check(name in PARTS, f"the parts are {', '.join(PARTS)}; found '{name}'")
    with tempfile.TemporaryDirectory() as folder:
        one = os.path.join(folder, "one")
        train(device, 1, one)
        expected = run_directory.losses(one)
        for name in choose_parts(device, sys.argv[2:]):
            PARTS[name](device, folder, expected)


main()
