"""What a server's clients meet: every endpoint, streams, refusals, keys, limits, leaving, shutting down.

    python3 tests/serve/clients.py reference|lavapipe

The reference device is taken through everything, the others through what depends on the device.
"""

import base64
import json
import os
import shutil
import struct
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import server as serving  # noqa: E402
from server import Server, program  # noqa: E402
from program import check  # noqa: E402

KEY = "key-one"
TEMPLATE = ("{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}"
            "{{ m.role[0] }}:{{ m.content }}\n{% endfor %}a:")
TOOL = {"type": "function", "function": {"name": "f", "parameters": {
    "type": "object", "properties": {"v": {"type": "integer", "minimum": 0, "maximum": 9}}, "required": ["v"]}}}
GREEDY = {"temperature": 0, "max_tokens": 12}


def make_model(folder):
    model = os.path.join(folder, "tiny")
    shutil.copytree(os.path.join(program.GPT2, "even"), model)
    with open(os.path.join(model, "chat_template.jinja"), "w", encoding="utf-8") as file:
        file.write(TEMPLATE)
    return model


# ---- endpoints -----------------------------------------------------------------------------------------------------

def text_of(answer, index=0):
    return answer["choices"][index]["text"]


def check_completions(s):
    one = s.post("/v1/completions", {"prompt": "hello", **GREEDY})
    check(one["object"] == "text_completion" and one["model"] == "tiny", one)
    check(one["usage"] == {"prompt_tokens": 5, "completion_tokens": 12, "total_tokens": 17,
                           "prompt_tokens_details": {"cached_tokens": 0}}, one["usage"])
    ids = s.post("/tokenize", {"prompt": "hello"})["tokens"]
    check(s.post("/detokenize", {"tokens": ids}) == {"prompt": "hello"}, "detokenize")
    for prompt in (ids, [ids], ["hello"]):
        check(text_of(s.post("/v1/completions", {"prompt": prompt, **GREEDY})) == text_of(one), prompt)
    many = s.post("/v1/completions", {"prompt": ["hello", "x"], "n": 2, "seed": 7, "max_tokens": 9})
    check([c["index"] for c in many["choices"]] == [0, 1, 2, 3], many)
    again = s.post("/v1/completions", {"prompt": ["hello", "x"], "n": 2, "seed": 7, "max_tokens": 9})
    check(many["choices"] == again["choices"] and text_of(many) != text_of(many, 1), "seeds")
    biased = s.post("/v1/completions", {"prompt": "x", "logit_bias": {str(ids[0]): 100}, **GREEDY})
    check(text_of(biased) == "h" * 12, biased)


def check_stream(s):
    request = {"prompt": ["hello", "x"], "max_tokens": 12, "seed": 11}
    whole = s.post("/v1/completions", request)
    events = s.events("/v1/completions", {**request, "stream_options": {"include_usage": True}})
    check(events[-1]["choices"] == [] and events[-1]["usage"]["completion_tokens"] == 24, events[-1])
    check(all(e["usage"] is None for e in events[:-1]), "a usage of null until then")
    for index in range(2):
        mine = [e["choices"][0] for e in events[:-1] if e["choices"][0]["index"] == index]
        check("".join(c["text"] for c in mine) == text_of(whole, index), f"stream of choice {index}")
        check([c["finish_reason"] for c in mine] == [None] * (len(mine) - 1) + ["length"], mine)


def check_scores(s):
    request = {"prompt": "hello", "echo": True, "logprobs": 3, **GREEDY}
    answer = s.post("/v1/completions", request)
    scores = answer["choices"][0]["logprobs"]
    check(text_of(answer).startswith("hello"), answer)
    check(scores["tokens"][:5] == list("hello") and scores["text_offset"][:6] == [0, 1, 2, 3, 4, 5], scores)
    check(scores["token_logprobs"][0] is None and scores["top_logprobs"][0] is None, scores)
    check(len(scores["tokens"]) == 17 == len(scores["top_logprobs"]) == len(scores["token_logprobs"]), scores)
    for place in range(5, 17):  # greedy: each is the likeliest
        check(abs(scores["token_logprobs"][place] - max(scores["top_logprobs"][place].values())) < 1e-6, place)
    check(s.post("/v1/completions", {"prompt": "a" * 60})["usage"]["completion_tokens"] == 4, "the default fits the context")
    alike = s.post("/v1/completions", {"prompt": "b" * 40, "n": 4, "max_tokens": 1})["usage"]
    check(alike["prompt_tokens_details"]["cached_tokens"] <= alike["prompt_tokens"] == 40, alike)
    only = s.post("/v1/completions", {**request, "max_tokens": 0})["choices"][0]
    check(only["text"] == "hello" and only["logprobs"]["token_logprobs"] == scores["token_logprobs"][:5], only)
    events = s.events("/v1/completions", request)
    streamed = [x for e in events for x in e["choices"][0]["logprobs"]["token_logprobs"]]
    check(streamed == scores["token_logprobs"], "scores of a stream")


def check_stops(s):
    request = {"prompt": "hello", "seed": 3, "max_tokens": 24}
    text = text_of(s.post("/v1/completions", request))
    stop = next(text[i:i + 2] for i in range(4, len(text)) if "\ufffd" not in text[i:i + 2])
    answer = s.post("/v1/completions", {**request, "stop": ["never there", stop]})
    check(text_of(answer) == text[:text.index(stop)] and answer["choices"][0]["finish_reason"] == "stop", answer)
    streamed = s.events("/v1/completions", {**request, "stop": stop})
    check("".join(e["choices"][0]["text"] for e in streamed) == text_of(answer), "stop in a stream")


def check_best_of(s):
    """The likeliest a token of those that the same seed gives one by one, the best first."""
    request = {"prompt": ["hello", "x"], "seed": 3, "max_tokens": 8, "logprobs": 0}
    every = s.post("/v1/completions", {**request, "n": 5})["choices"]
    best = s.post("/v1/completions", {**request, "n": 2, "best_of": 5})
    check([c["index"] for c in best["choices"]] == [0, 1, 2, 3], best)
    for prompt in range(2):
        scores = [c["logprobs"]["token_logprobs"] for c in every[5 * prompt:5 * prompt + 5]]
        order = sorted(range(5), key=lambda i: -sum(scores[i]) / len(scores[i]))
        found = [text_of(best, 2 * prompt + i) for i in range(2)]
        check(found == [every[5 * prompt + i]["text"] for i in order[:2]], (found, order))
    del request["logprobs"]
    plain = s.post("/v1/completions", {**request, "n": 2, "best_of": 5})
    check([c["text"] for c in plain["choices"]] == [c["text"] for c in best["choices"]], "without log-probabilities")
    check(plain["choices"][0]["logprobs"] is None and plain["usage"] == best["usage"], plain)
    check(plain["usage"]["prompt_tokens"] == 6 and plain["usage"]["completion_tokens"] > 20, plain["usage"])


def check_chat(s):
    messages = [{"role": "developer", "content": "S"}, {"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    request = {"messages": messages, "seed": 5, "max_completion_tokens": 10, "user": "somebody"}
    answer = s.post("/v1/chat/completions", request)
    message = answer["choices"][0]["message"]
    check(answer["object"] == "chat.completion" and message["role"] == "assistant", answer)
    plain = s.post("/v1/completions", {"prompt": "s:S\nu:hi\na:", "seed": 5, "max_tokens": 10})
    check(message["content"] == text_of(plain), "the template's prompt")
    events = s.events("/v1/chat/completions", {**request, "logprobs": True, "top_logprobs": 2})
    deltas = [e["choices"][0]["delta"] for e in events]
    check(deltas[0] == {"role": "assistant", "content": ""} and deltas[-1] == {}, deltas)
    check("".join(d.get("content", "") for d in deltas) == message["content"], deltas)
    content = [t for e in events if e["choices"][0]["logprobs"] for t in e["choices"][0]["logprobs"]["content"]]
    check(len(content) == 10 and all(len(t["top_logprobs"]) == 2 for t in content), content)
    check(s.post("/tokenize", {"messages": messages})["tokens"] == s.post("/tokenize", {"prompt": "s:S\nu:hi\na:"})["tokens"],
          "tokens of messages")


def check_forms(s):
    schema = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 9}}, "required": ["a"]}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    chat = {"messages": [{"role": "user", "content": "x"}], "seed": 1, "response_format": form, "n": 2}
    for choice in s.post("/v1/chat/completions", chat)["choices"]:
        check(0 <= json.loads(choice["message"]["content"])["a"] <= 9 and choice["finish_reason"] == "stop", choice)
    check(text_of(s.post("/v1/completions", {"prompt": "x", "grammar": 'root ::= "y" "z"', "logprobs": 1})) == "yz", "grammar")


def check_tools(device, folder):
    model = os.path.join(folder, "tiny")
    with open(os.path.join(model, "chat_template.jinja"), "w", encoding="utf-8") as file:
        file.write("{% for t in tools or [] %}{{ t.function.name }} {% endfor %}" + TEMPLATE)
    with Server(device, model, "--name", "tiny") as s:
        request = {"messages": [{"role": "user", "content": "x"}], "seed": 1, "tools": [TOOL], "tool_choice": "required"}
        choice = s.post("/v1/chat/completions", request)["choices"][0]
        call = choice["message"]["tool_calls"][0]["function"]
        check(choice["finish_reason"] == "tool_calls" and choice["message"]["content"] is None, choice)
        check(call["name"] == "f" and 0 <= json.loads(call["arguments"])["v"] <= 9, call)
        deltas = [e["choices"][0]["delta"] for e in s.events("/v1/chat/completions", request)]
        check([d["tool_calls"][0]["function"] for d in deltas if "tool_calls" in d] == [call], deltas)
        check(s.request("GET", "/health", headers={"Host": "elsewhere.example"})[0] == 403, "another name for this server")
        check(s.request("GET", "/health", headers={"Host": f"localhost:{s.port}"})[0] == 200, "localhost")


def check_overflow(device, model):
    """Longer than the context of 64, by choice; and a grammar that is too large."""
    for how, prompt, asked, given in (("shift", 20, 150, 150), ("shift", 90, 30, 30), ("stop", 20, 150, 44)):
        with Server(device, model, "--overflow", how, "--grammar-memory", "1MiB") as s:
            request = {"prompt": "ab" * (prompt // 2), "max_tokens": asked, "ignore_eos": True, "seed": 2}
            answer = s.post("/v1/completions", request)
            check(answer["usage"]["completion_tokens"] == given and answer["choices"][0]["finish_reason"] == "length", answer)
            if how == "stop":
                s.post("/v1/completions", {"prompt": "a" * 64}, 400)
                continue
            s.post("/v1/completions", {"prompt": "a" * 65, "echo": True, "logprobs": 1}, 400)
            error = s.post("/v1/completions", {"prompt": "x", "grammar": 'root ::= "a"{90000}'}, 400)["error"]
            check("all may take" in error["message"] and error["param"] == "grammar", error)


def check_grammar_memory(device, model):
    """Grammars of many at once: those that find no memory are told to come again, and what is held stays within it."""
    found = []
    with Server(device, model, "--sequences", 1, "--grammar-memory", "2MiB") as s:
        def ask(i):
            body = json.dumps({"prompt": "x", "max_tokens": 1, "grammar": f'root ::= "{"ab"[i % 2]}"{{{20000 + i}}}'})
            found.append(s.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})[0])
        threads = [threading.Thread(target=ask, args=(i,)) for i in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        check(set(found) <= {200, 429} and 200 in found, found)
        check(0 < s.metric("dure_grammar_bytes") <= 2 << 20, s.metric("dure_grammar_bytes"))
        ask(0)
        check(found[-1] == 200, "there is room again")


def check_embeddings(s):
    plain = s.post("/v1/embeddings", {"input": ["hello", "hello", "x"]})
    vectors = [d["embedding"] for d in plain["data"]]
    check(vectors[0] == vectors[1] != vectors[2] and plain["usage"]["prompt_tokens"] == 11, plain["usage"])
    check(abs(sum(x * x for x in vectors[0]) - 1) < 1e-5, "unit length")
    packed = base64.b64decode(s.post("/v1/embeddings", {"input": "hello", "encoding_format": "base64"})["data"][0]["embedding"])
    found = struct.unpack(f"<{len(packed) // 4}f", packed)
    check(max(abs(a - b) for a, b in zip(found, vectors[0])) < 1e-7 and len(found) == len(vectors[0]), "base64")


def check_others(s):
    _, _, content = s.request("GET", "/v1/models")
    model = json.loads(content)["data"][0]
    check(model["id"] == "tiny" and model["has_chat_template"] and model["max_model_len"] == 64, model)
    check(s.request("GET", "/v1/models/tiny")[0] == 200 and s.request("GET", "/v1/models/other")[0] == 404, "one model")
    check(s.request("HEAD", "/health")[0] == 200, "HEAD")
    _, headers, page = s.request("GET", "/")
    check("default-src 'none'" in headers["Content-Security-Policy"], headers)
    check(b"http://" not in page and b"https://" not in page and b"innerHTML" not in page, "the page is alone")
    _, _, metrics = s.request("GET", "/metrics")
    for line in metrics.decode().splitlines():
        check(line.startswith("# ") or len(line.split(" ")) == 2, line)
    check(s.metric("dure_time_to_first_token_seconds_count") > 0, "time to first token")
    check(s.metric("dure_inter_token_seconds_bucket{le=\"+Inf\"}") == s.metric("dure_inter_token_seconds_count") > 0, "+Inf")


# ---- what is refused -----------------------------------------------------------------------------------------------

BAD = [  # path, body, status, param, part of the message
    ("/v1/completions", b"", 400, None, "empty"),
    ("/v1/completions", b'{"prompt": ', 400, None, "line 1, column"),
    ("/v1/completions", b'{"prompt": "\xff"}', 400, None, "line 1"),
    ("/v1/completions", b"[" * 60000, 400, None, "line 1"),
    ("/v1/completions", b'{"prompt": "a", "prompt": "b"}', 400, None, "duplicate"),
    ("/v1/completions", b"3", 400, None, "object"),
    ("/v1/completions", {}, 400, "prompt", "missing"),
    ("/v1/completions", {"prompt": []}, 400, "prompt", "empty"),
    ("/v1/completions", {"prompt": [[1], "a"]}, 400, "prompt", "mixed"),
    ("/v1/completions", {"prompt": [1, -1]}, 400, "prompt", "token id"),
    ("/v1/completions", {"prompt": [100000]}, 400, "prompt", "vocabulary"),
    ("/v1/completions", {"prompt": "a" * 65}, 400, "prompt", "context holds 64"),
    ("/v1/completions", {"prompt": "a", "max_tokens": 64}, 400, "prompt", "context holds 64"),
    ("/v1/completions", {"prompt": "a", "max_tokens": -1}, 400, "max_tokens", "integer"),
    ("/v1/completions", {"prompt": "a", "temperature": "hot"}, 400, "temperature", "number"),
    ("/v1/completions", {"prompt": "a", "n": 1000}, 400, "n", "1 to 128"),
    ("/v1/completions", {"prompt": "a", "suffix": "b"}, 400, "suffix", "not supported"),
    ("/v1/completions", {"prompt": "a", "n": 3, "best_of": 2}, 400, "best_of", "at least 'n'"),
    ("/v1/completions", {"prompt": "a", "best_of": 2, "stream": True}, 400, "best_of", "cannot be streamed"),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "best_of": 2}, 400, "best_of", "no option"),
    ("/v1/completions", {"prompt": "a", "tempature": 1}, 400, "tempature", "no option"),
    ("/v1/completions", {"prompt": "a", "logit_bias": {"x": 1}}, 400, "logit_bias", "token ids"),
    ("/v1/completions", {"prompt": "a", "logprobs": 21}, 400, "logprobs", "0 to 20"),
    ("/v1/completions", {"prompt": "a", "stop": ["x"] * 17}, 400, "stop", "more than 16"),
    ("/v1/completions", {"prompt": "a", "stream_options": {"include_usage": True}}, 400, "stream_options", "stream"),
    ("/v1/completions", {"prompt": "a", "model": "other"}, 404, "model", "'tiny'"),
    ("/v1/chat/completions", {}, 400, "messages", "list"),
    ("/v1/chat/completions", {"messages": [{"content": "x"}]}, 400, "messages", "message 0"),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "messages", "image_url"),
    ("/v1/chat/completions", {"messages": [{"role": "tool", "content": "x"}]}, 422, "messages", "no tools here"),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "tools": [{}]}, 400, "tools", "tool 0 must be"),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "tools": [TOOL]}, 400, "tools", "does not know"),
    ("/v1/completions", {"prompt": "x", "grammar": "root ::= root"}, 400, "grammar", "left recursion"),
    ("/v1/completions", {"prompt": "x", "response_format": {"type": "json_schema", "json_schema": {"schema": {"not": {}}}}},
     400, "response_format", "'not' is not supported"),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "top_logprobs": 2}, 400, "top_logprobs", "logprobs"),
    ("/v1/embeddings", {"input": "a" * 65}, 400, None, "context of 64"),
    ("/v1/embeddings", {"input": "a", "dimensions": 3}, 400, "dimensions", "left out"),
    ("/tokenize", {"prompt": 3}, 400, "prompt", "text"),
    ("/detokenize", {"tokens": ["a"]}, 400, "tokens", "token id"),
    ("/nowhere", {}, 404, None, "path"),
]


def check_refusals(s):
    for path, body, status, param, part in BAD:
        error = s.post(path, body, status)["error"]
        check(part in error["message"] and error["param"] == param, f"{path} {str(body)[:80]}: {error}")
    for name in ("user",):
        s.post("/v1/completions", {"prompt": "a", name: "x", "max_tokens": 1})
    status, headers, _ = s.request("GET", "/v1/completions")
    check((status, headers["Allow"]) == (405, "POST"), "405")
    check(s.request("POST", "/v1/completions", b"{}", {"Content-Type": "text/plain"})[0] == 415, "415")
    check(s.request("POST", "/v1/completions", b" " * 70000, {"Content-Type": "application/json"})[0] == 413, "413")
    pieces = iter([b" " * 30000] * 3)  # without a length: in chunks
    check(s.request("POST", "/v1/completions", pieces, {"Content-Type": "application/json"})[0] == 413, "413 in chunks")
    s.post("/v1/completions", {"prompt": ["a"] * 80, "n": 4, "max_tokens": 1}, 400)  # more than ever may wait
    for headers in ({"Authorization": ""}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer key-on"}):
        check(s.request("GET", "/v1/models", headers=headers)[0] == 401, headers)
    check(s.request("GET", "/v1/models", headers={"Authorization": "Bearer key-two"})[0] == 200, "the second key")
    check(s.request("GET", "/health", headers={"Authorization": ""})[0] == 200, "health needs no key")
    check(s.request("GET", "/health", headers={"Origin": "http://elsewhere.example"})[0] == 403, "another site's page")


def check_framing(s):
    """Requests whose end two readers could see in different places, or whose body is not wanted."""
    body = json.dumps({"prompt": "a", "max_tokens": 1}).encode()
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    length = b"Content-Length: %d\r\n" % len(body)
    for extra, content, status in (
            (length, body, 200),
            (b"Transfer-Encoding: chunked\r\n", chunked, 200),
            (length + b"Content-Length: 3\r\n", body, 400),
            (length + b"Transfer-Encoding: chunked\r\n", chunked, 400),
            (b"Transfer-Encoding: gzip\r\n", body, 400),
            (b"Content-Length : %d\r\n" % len(body), body, 400),
            (length + b"Host: y\r\n", body, 400),
            (b"Content-Length: 99999999\r\nExpect: 100-continue\r\n", b"", 413)):
        with s.socket() as one:
            one.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                        + f"Authorization: Bearer {KEY}\r\n".encode() + extra + b"\r\n" + content)
            got = one.recv(65536)
            check(got.startswith(b"HTTP/1.1 %d " % status), (extra, got))
            check(status == 200 or b"Connection: close" in got, (extra, got))


# ---- clients -------------------------------------------------------------------------------------------------------

def check_together(s):
    """Two at once with one seed, among others: the text of one alone."""
    requests = [{"prompt": "hello", "seed": 21, "max_tokens": 40}] * 2 + [
        {"prompt": "p" * (1 + i), "seed": i, "max_tokens": 30} for i in range(6)]
    alone = [text_of(s.post("/v1/completions", r)) for r in requests]
    found = [None] * len(requests)

    def ask(i):
        found[i] = text_of(s.post("/v1/completions", requests[i]))
    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check(found == alone, "texts alone and together")


def wait_until(condition, what):
    end = time.monotonic() + 60
    while not condition():
        check(time.monotonic() < end, what)
        time.sleep(0.02)


def send(s, body):
    """A request whose answer nobody reads yet."""
    text = json.dumps(body).encode()
    one = s.socket()
    one.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                + f"Authorization: Bearer {KEY}\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text)
    return one


def check_leaving(s):
    finished = s.metric("dure_sequences_finished_total")
    long = {"prompt": ["a"] * 60, "n": 4, "max_tokens": 60, "ignore_eos": True}
    for streams in (False, True):
        left = s.metric("dure_clients_left_total")
        one = send(s, {**long, "stream": streams})
        wait_until(lambda: s.metric("dure_requests_open") == 1, "the request begins")
        one.close()
        wait_until(lambda: s.metric("dure_requests_open") == 0, "the request ends with its client")
        wait_until(lambda: s.metric("dure_sequences_running") == 0, "so do its sequences")
        if not streams:
            check(s.metric("dure_clients_left_total") == left + 1, "the client's leaving is counted")
    check(s.metric("dure_sequences_finished_total") - finished < 480, "not all was computed for nobody")


def check_turns(s):
    """One with many waiting does not keep another client from its turn."""
    one = send(s, {"prompt": ["a"] * 60, "n": 4, "max_tokens": 60, "ignore_eos": True})
    wait_until(lambda: s.metric("dure_requests_open") == 1, "the request begins")
    body = json.dumps({"prompt": "a", "max_tokens": 4})
    status, _, _ = s.request("POST", "/v1/completions", body,
                             {"Content-Type": "application/json", "Authorization": "Bearer key-two"})
    check(status == 200 and s.metric("dure_requests_open") == 1, "another client's turn comes between")
    one.close()
    wait_until(lambda: s.metric("dure_requests_open") == 0, "the request ends with its client")


def check_unread(s):
    """A stream that nobody reads ends when more waits than is kept; others go on."""
    one = send(s, {"prompt": ["a"] * 60, "n": 4, "max_tokens": 60, "ignore_eos": True, "logprobs": 20, "stream": True})
    wait_until(lambda: s.metric("dure_clients_slow_total") == 1, "the stream is dropped")
    wait_until(lambda: s.metric("dure_requests_open") == 0, "and its request ends")
    one.close()


def check_slow(s):
    one = s.socket()
    one.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n")
    check(one.recv(4096).startswith(b"HTTP/1.1 408 "), "408")
    one.close()


def check_shutdown(s):
    answers = []
    running = threading.Thread(target=lambda: answers.append(
        s.post("/v1/completions", {"prompt": ["a"] * 60, "n": 4, "max_tokens": 60, "ignore_eos": True})))
    kept = s.connect()
    kept.request("GET", "/health")
    kept.getresponse().read()
    running.start()
    wait_until(lambda: s.metric("dure_sequences_running") > 0, "the request begins")
    s.process.send_signal(serving.signal.SIGTERM)
    wait_until(lambda: s.request("GET", "/health")[0] == 503, "health tells of the end")
    s.post("/v1/completions", {"prompt": "a"}, 503)
    running.join()
    check(len(answers) == 1 and len(answers[0]["choices"]) == 240, "what ran was finished")
    check(s.process.wait(60) == 0, "exit status")
    errors = s.process.stderr.read()
    check(errors == "", errors)


def main():
    device = sys.argv[1]
    program.require_device(device)
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(folder)
        keys = os.path.join(folder, "keys")
        with open(keys, "w", encoding="utf-8") as file:
            file.write(f"# ours\n{KEY}\nkey-two\n")
        is_whole = device == "reference"  # elsewhere few programs, which take the drivers long to make
        with Server(device, model, "--sequences", 4 if is_whole else 2, "--chunk", 8, "--queue", 300, "--max-body", 65536,
                    "--api-key-file", keys, "--read-seconds", 3, key=KEY) as s:
            check_completions(s)
            check_stream(s)
            check_together(s)
            if is_whole:
                for part in (check_chat, check_forms, check_embeddings, check_scores, check_stops, check_best_of, check_others, check_refusals, check_framing,
                             check_slow, check_leaving, check_turns, check_unread):
                    part(s)
                check_shutdown(s)
            else:
                check(s.stop() == 0, "exit status")
        if is_whole:
            check_overflow(device, model)
            check_grammar_memory(device, model)
            check_tools(device, folder)
    print("everything as promised")


if __name__ == "__main__":
    main()
