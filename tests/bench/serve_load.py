"""The server under load: throughput and waiting by the number of streams, clients killed at random, many connections.

    python3 tests/bench/serve_load.py MODEL [--device lavapipe] [--streams 1,8,64] [--tokens 64] [--prompt-tokens 32]
    python3 tests/bench/serve_load.py MODEL --soak 300          # clients that vanish, for so many seconds
    python3 tests/bench/serve_load.py MODEL --connections 10000

Starts `dure serve MODEL` (DURE_PROGRAM, else build/dure) on a free port of the loopback, and ends it. Standard library only.
Every prompt differs, so that none is found in the cache. The clients that vanish ask for all kinds of things (streams, several
choices, log-probabilities, grammars, schemas, stop strings, chats where the model has a template, embeddings), send some of it, or
leave before, within or after the answer; those that stay look at what they get. The table:

    streams  tokens/s  against one  first token p50, p99 (s)  between tokens p50, p99 (ms)
"""

import argparse
import asyncio
import json
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "serve"))
from server import Server, program  # noqa: E402


def request_bytes(prompt, tokens, stream=True):
    return post_bytes("/v1/completions", {"prompt": prompt, "max_tokens": tokens, "stream": stream, "ignore_eos": True,
                                          "seed": prompt[0]})


def post_bytes(path, body):
    body = json.dumps(body)
    return (f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}").encode()


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))] if values else float("nan")


async def one_stream(port, prompt, tokens, firsts, gaps):
    """The number of tokens' events that came; token by token, since every token ends an event or is held back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    begin = last = time.perf_counter()
    writer.write(request_bytes(prompt, tokens))
    await writer.drain()
    status = await reader.readline()
    program.check(b" 200 " in status, status)
    events = 0
    while line := await reader.readline():
        if line.startswith(b"data: [DONE]"):
            break
        if not line.startswith(b"data: "):
            continue
        now = time.perf_counter()
        (gaps if events else firsts).append(now - (last if events else begin))
        last, events = now, events + 1
    writer.close()
    return time.perf_counter()


async def load(port, streams, tokens, prompt_tokens, seed):
    draw = random.Random(seed)
    firsts, gaps = [], []
    prompts = [[draw.randrange(100, 250) for _ in range(prompt_tokens)] for _ in range(streams)]
    begin = time.perf_counter()
    ends = await asyncio.gather(*(one_stream(port, p, tokens, firsts, gaps) for p in prompts))
    return streams * tokens / (max(ends) - begin), firsts, gaps


def table(server, arguments):
    counts = [int(word) for word in arguments.streams.split(",")]
    print("| streams | tokens/s | against one | first token p50 (s) | p99 (s) | between events p50 (ms) | p99 (ms) |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    asyncio.run(load(server.port, 2, 4, arguments.prompt_tokens, 1))
    alone = None
    for count in counts:
        runs = [asyncio.run(load(server.port, count, arguments.tokens, arguments.prompt_tokens, 100 * count + i))
                for i in range(arguments.repeats)]
        rate = quantile([r[0] for r in runs], 0.5)
        alone = alone or rate
        firsts, gaps = [x for r in runs for x in r[1]], [1e3 * x for r in runs for x in r[2]]
        print(f"| {count} | {rate:.1f} | {rate / alone:.2f} | {quantile(firsts, 0.5):.3f} | {quantile(firsts, 0.99):.3f} | "
              f"{quantile(gaps, 0.5):.1f} | {quantile(gaps, 0.99):.1f} |", flush=True)


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99}}, "required": ["a"]}
FORMS = [{"grammar": 'root ::= [0-9]{1,8} ("!" | "?")'}, {"response_format": {"type": "json_object"}},
         {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}}]


def any_request(draw, has_chat):
    """(path, body) of a request that the server takes."""
    words = [draw.randrange(100, 250) for _ in range(draw.randrange(1, 30))]
    if draw.random() < 0.05:
        return "/v1/embeddings", {"input": [words, words[:1]]}
    body = {"max_tokens": draw.randrange(1, 30), "seed": words[0]}
    if draw.random() < 0.6:
        body["stream"] = True
    if draw.random() < 0.2:
        body["n"] = draw.randrange(2, 4)
    if draw.random() < 0.3:
        body.update(draw.choice(FORMS))
    else:
        body["ignore_eos"] = draw.random() < 0.5
    if draw.random() < 0.2:
        body["stop"] = [draw.choice("abcdefgh")]
    if draw.random() < 0.2:
        body.update(presence_penalty=0.5, logit_bias={"65": 5}, top_p=0.9)
    with_scores = draw.random() < 0.2
    if has_chat and draw.random() < 0.3:
        scores = {"logprobs": True, "top_logprobs": 3} if with_scores else {}
        return "/v1/chat/completions", {**body, **scores, "messages": [{"role": "user", "content": "x" * len(words)}]}
    if with_scores:
        body.update(logprobs=3, echo=draw.random() < 0.5)
    elif "stream" not in body and draw.random() < 0.2:
        body["best_of"] = body.get("n", 1) + 2
    return "/v1/completions", {**body, "prompt": words}


def texts_of(body, answer):
    """The text of every choice of an answer, a stream's put together; None when it is not whole."""
    head, _, content = answer.partition(b"\r\n\r\n")
    if b"chunked" in head:
        pieces = []
        while content:
            size, _, content = content.partition(b"\r\n")
            pieces.append(content[:int(size, 16)])
            content = content[int(size, 16) + 2:]
        content = b"".join(pieces)
    if not body.get("stream"):
        found = json.loads(content)
        if "choices" not in found:
            return []
        return [(c["text"] if "text" in c else c["message"]["content"], c["finish_reason"]) for c in found["choices"]]
    events = content.decode().split("\n\n")
    if events[-2:] != ["data: [DONE]", ""]:
        return None
    texts, reasons = {}, {}
    for event in events[:-2]:
        choice = json.loads(event.removeprefix("data: "))["choices"][0]
        index = choice["index"]
        texts[index] = texts.get(index, "") + (choice["text"] if "text" in choice else choice["delta"].get("content", ""))
        reasons[index] = choice["finish_reason"] or reasons.get(index)
    return [(texts[i], reasons[i]) for i in sorted(texts)]


def is_right(path, body, answer):
    if not answer.startswith(b"HTTP/1.1 200"):
        return False
    texts = texts_of(body, answer)
    if texts is None or (path != "/v1/embeddings" and len(texts) != body.get("n", 1)):
        return False
    for text, reason in texts:
        if reason == "stop" and "response_format" in body and "stop" not in body and not body.get("echo"):
            json.loads(text)
    return True


async def one_rude_client(port, draw, counts, has_chat):
    path, body = any_request(draw, has_chat)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        text = post_bytes(path, body)
        kind = draw.random()
        writer.write(text[:draw.randrange(len(text))] if kind < 0.2 else text)
        await writer.drain()
        if kind < 0.6:  # leaves after a while: before, within or after its answer
            await asyncio.sleep(draw.random() * 0.3)
            counts["left"] += 1
            writer.transport.abort() if draw.random() < 0.5 else writer.close()
            return
        answer = await asyncio.wait_for(reader.read(), 120)
        is_good = is_right(path, body, answer)
        is_refused = answer.startswith(b"HTTP/1.1 429")
        counts["answered" if is_good else "refused" if is_refused else "wrong"] += 1
        if not is_good and not is_refused:
            print(f"{path} {json.dumps(body)}: {answer[:2000]}", file=sys.stderr, flush=True)
        writer.close()
    except (OSError, asyncio.TimeoutError, ValueError, LookupError, TypeError) as failure:
        counts[type(failure).__name__] = counts.get(type(failure).__name__, 0) + 1
        print(f"{path} {json.dumps(body)}: {failure!r}", file=sys.stderr, flush=True)


async def soak(server, seconds, together, pause):
    """Counts, and the server's resident memory (MiB) after a tenth of the time and at its end."""
    draw, counts, memory = random.Random(4711), {"left": 0, "answered": 0, "refused": 0, "wrong": 0}, []
    _, _, content = server.request("GET", "/v1/models")
    has_chat = json.loads(content)["data"][0]["has_chat_template"]
    begin, running = time.monotonic(), set()
    while time.monotonic() < begin + seconds:
        while len(running) < together:
            running.add(asyncio.create_task(one_rude_client(server.port, draw, counts, has_chat)))
        done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        if not memory and time.monotonic() > begin + seconds / 10:
            memory.append(server.resident())
        await asyncio.sleep(pause)
    await asyncio.wait(running)
    return counts, [*memory, server.resident()]


async def connections(server, count):
    """Opens so many, and asks through a part of them and through a new one."""
    opened = []
    for _ in range(count):
        try:
            opened.append(await asyncio.wait_for(asyncio.open_connection("127.0.0.1", server.port), 30))
        except (OSError, asyncio.TimeoutError) as failure:
            print(f"after {len(opened)}: {failure}")
            break
    statuses = {}
    for reader, writer in opened[::100]:
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        status = (await asyncio.wait_for(reader.readline(), 60)).decode().strip()
        statuses[status] = statuses.get(status, 0) + 1
    firsts = []
    if len(opened) > 0:
        await one_stream(server.port, [100, 101], 8, firsts, [])
    print(f"{len(opened)} connections opened; every hundredth answered {statuses}; a completion beside them began after "
          f"{firsts[0]:.2f} s")
    for _, writer in opened:
        writer.transport.abort()


def settle(server):
    end = time.monotonic() + 120
    names = ("dure_requests_open", "dure_sequences_running", "dure_sequences_waiting")
    while any(server.metric(name) for name in names):
        program.check(time.monotonic() < end, f"stuck: {[(name, server.metric(name)) for name in names]}")
        time.sleep(0.1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--device", default="lavapipe")
    parser.add_argument("--streams", default="1,8,64")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--prompt-tokens", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--context", type=int, default=0)
    parser.add_argument("--soak", type=float, default=0)
    parser.add_argument("--together", type=int, default=24)
    parser.add_argument("--pause", type=float, default=0, help="seconds between clients of --soak")
    parser.add_argument("--grammar-memory", default="256MiB")
    parser.add_argument("--connections", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.connections > 0:
        import resource
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    context = ["--context", arguments.context] if arguments.context else []
    with Server(arguments.device, arguments.model, "--sequences", arguments.sequences, "--read-seconds", 60,
                "--grammar-memory", arguments.grammar_memory, *context) as server:
        if arguments.soak > 0:
            counts, memory = asyncio.run(soak(server, arguments.soak, arguments.together, arguments.pause))
            settle(server)
            print(f"{arguments.soak:.0f} s: {counts}; nothing is left open; resident memory after a tenth and at the end: "
                  f"{', '.join(f'{m:.1f} MiB' for m in memory)}", flush=True)
            program.check(set(counts) == {"left", "answered", "refused", "wrong"} and not counts["wrong"], "wrong answers")
        elif arguments.connections > 0:
            asyncio.run(connections(server, arguments.connections))
        else:
            table(server, arguments)
        status = server.stop()
        errors = server.process.stderr.read()
        if errors:
            print(errors[-4000:], file=sys.stderr)
        program.check(status == 0, f"exit status {status}")


if __name__ == "__main__":
    main()
